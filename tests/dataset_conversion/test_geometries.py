"""Images and label maps of other grids than BraTS's own come back on their own, whatever lies next to them."""

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import values_of
from hypothesis import given, settings
from hypothesis import strategies as st
from releases import MNI152, NATIVE, SRI24, SRI24_RAS, UCSD, Grid, write

from dataset_conversion import EDITIONS, convert
from dataset_conversion.editions import SEGMENTATION
from dataset_conversion.submission import write_submission
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.cli import main

EDITION = EDITIONS["2025-met"]
TYPES = (np.uint8, np.uint16, np.int16, np.float32)
"""In which the releases store label maps."""


def make_case(folder, case, grid, label_type, seed=0):
    random = np.random.default_rng(seed)
    for role in EDITION.suffixes:
        values = np.resize(random.integers(1, 900, 997, dtype=np.int16), grid.shape)  # noise would take long to pack
        values = (values % 5).astype(label_type) if role == SEGMENTATION else values
        write(grid.image(values), folder / case / EDITION.file_name(case, role))
    return folder / case / EDITION.file_name(case, SEGMENTATION)


def same_place(first, second):
    """Whether two files lie on one grid, by the corners of their volumes in the world, in mm."""
    one, other = (sitk.ReadImage(str(path)) for path in (first, second))
    if one.GetSize() != other.GetSize():
        return False
    corners = [
        tuple((size - 1) * end for size, end in zip(one.GetSize(), ends, strict=True)) for ends in np.ndindex(2, 2, 2)
    ]
    return all(
        np.allclose(one.TransformIndexToPhysicalPoint(corner), other.TransformIndexToPhysicalPoint(corner), atol=1e-3)
        for corner in corners
    )


def there_and_back(folder, originals):
    """Convert and hand in; check values and place of each case's images and label maps on the way."""
    dataset = convert([folder / "download"], 137, edition=EDITION.key)
    _, written = write_submission(dataset / "labelsTr", folder / "out", EDITION.key)
    assert len(written) == len(originals)
    for case, original in originals.items():
        ours = dataset / "labelsTr" / f"{case}.nii.gz"
        handed_in = folder / "out" / f"{case}.nii.gz"
        np.testing.assert_array_equal(values_of(handed_in), values_of(original))
        assert same_place(ours, original) and same_place(handed_in, original)
        for number, channel in enumerate(EDITION.channels):
            image = dataset / "imagesTr" / f"{case}_{number:04d}.nii.gz"
            assert image.samefile(original.with_name(EDITION.file_name(case, channel)))  # not touched at all
    return dataset


def test_one_cohort_of_many_grids_and_types(nnunet_folders):
    grids = (SRI24, SRI24_RAS, MNI152, NATIVE, UCSD)
    originals = {
        f"BraTS-MET-{number:05d}-000": make_case(
            nnunet_folders / "download", f"BraTS-MET-{number:05d}-000", grid, TYPES[number % len(TYPES)], number
        )
        for number, grid in enumerate(grids)
    }
    dataset = there_and_back(nnunet_folders, originals)
    entries = read_json(dataset / "conversion.json")["cases"]
    assert [case for case, entry in entries.items() if any("labels as" in note for note in entry["repairs"])] == [
        "BraTS-MET-00003-000"
    ]


def test_cases_with_axes_stored_otherwise_are_named(nnunet_folders, capsys):
    """Also where they came later, and the others are known from the dataset alone."""
    download = nnunet_folders / "download"
    command = ["convert", str(download), "-d", "137", "--edition", EDITION.key]
    for case in ("BraTS-MET-00001-000", "BraTS-MET-00002-000"):
        make_case(download, case, SRI24, np.uint8)
    assert main(command) == 0
    assert "axes stored otherwise" not in capsys.readouterr().out
    make_case(download, "BraTS-MET-00003-000", SRI24_RAS, np.uint8)
    for again in (["convert", "--check", *command[1:2], *command[4:]], command):
        assert main(again) == 0
        said = capsys.readouterr().out
        assert "axes stored otherwise than LPS, as most cases have them: RAS: 1 case, BraTS-MET-00003-000" in said


grids = st.builds(
    Grid,
    shape=st.tuples(*[st.integers(2, 5)] * 3),
    spacing=st.tuples(*[st.floats(0.5, 3.0, width=32)] * 3),
    direction=st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3),
    origin=st.tuples(*[st.floats(-300, 300, width=32)] * 3),
)


@settings(max_examples=15)
@given(st.lists(st.tuples(grids, st.sampled_from(TYPES)), min_size=1, max_size=3))
def test_every_grid_comes_back(tmp_path_factory, cohort):
    folder = tmp_path_factory.mktemp("grids")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("nnUNet_raw", str(folder / "raw"))
        (folder / "raw").mkdir()
        originals = {
            f"BraTS-MET-{number:05d}-000": make_case(
                folder / "download", f"BraTS-MET-{number:05d}-000", grid, label_type, number
            )
            for number, (grid, label_type) in enumerate(cohort)
        }
        there_and_back(folder, originals)


@pytest.mark.long
def test_the_sizes_of_real_files(nnunet_folders):
    sizes = {
        "BraTS-MET-00630-001": Grid((106, 256, 256), NATIVE.spacing, NATIVE.direction, NATIVE.origin),
        "BraTS-MET-01325-000": Grid((176, 512, 512), UCSD.spacing, UCSD.direction, UCSD.origin),
    }
    there_and_back(
        nnunet_folders,
        {case: make_case(nnunet_folders / "download", case, grid, np.float32) for case, grid in sizes.items()},
    )
