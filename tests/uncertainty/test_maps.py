"""Maps of uncertainty as files: any reader gets the values and the place that were written."""

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from nnunet_resunet_ds.base.images import geometry_difference, read_image
from nnunet_resunet_ds.base.regions import GTV, REGIONS, Region
from nnunet_resunet_ds.uncertainty.maps import ENTROPY, LARGEST, VARIANCE, map_file, remove_maps, write_maps

KINDS = (ENTROPY, VARIANCE)


def grid_of(shape=(4, 5, 6)):
    grid = sitk.Image(shape[::-1], sitk.sitkUInt8)
    grid.SetSpacing((1.0, 0.5, 2.0))
    grid.SetOrigin((-3.0, 7.0, 11.0))
    grid.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    return grid


@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS))
def test_every_reader_gets_the_values_and_the_place(tmp_path_factory, seed, kind):
    folder = tmp_path_factory.mktemp("out")
    values = LARGEST[kind] * np.random.default_rng(seed).beta(0.1, 0.4, (3, 4, 5, 6))
    values.flat[:2] = 0, LARGEST[kind]
    write_maps(folder, "case", REGIONS, {kind: values}, grid_of())
    for region, expected in zip(REGIONS, values, strict=True):
        file = map_file(folder, "case", region.name, kind)
        images = [sitk.ReadImage(str(file)), read_image(file)]
        found = [*map(sitk.GetArrayFromImage, images), nibabel.load(file).get_fdata().T]
        for of_reader in found:
            np.testing.assert_allclose(of_reader, expected, atol=LARGEST[kind] / 65535 / 2 * 1.01)
        assert geometry_difference(images[0], grid_of()) is None
    assert found[0].min() >= 0 and values.max() == LARGEST[kind]


def test_names_of_regions_become_names_of_files_and_maps_are_removed_again(tmp_path):
    region = Region("tumour / core", "", (1,))
    assert map_file(tmp_path, "a", region.name, ENTROPY).name == "a_tumour___core_entropy.nii.gz"
    for case in ("a", "a_b"):
        write_maps(tmp_path, case, [region, GTV], dict.fromkeys(KINDS, np.zeros((2, 4, 5, 6))), grid_of())
    remove_maps(tmp_path, "a", [region, GTV])
    left = sorted(path.name for path in (tmp_path / "uncertainty").iterdir())
    assert left == sorted(f"a_b_{name}_{kind}.nii.gz" for name in ("tumour___core", "GTV") for kind in KINDS)


def test_zeros_take_next_to_no_room(tmp_path):
    grid = grid_of((60, 70, 80))
    write_maps(tmp_path, "case", [GTV], {VARIANCE: np.full((1, 60, 70, 80), 1e-6)}, grid)
    assert map_file(tmp_path, "case", "GTV", VARIANCE).stat().st_size < 5000
    assert sitk.GetArrayFromImage(read_image(map_file(tmp_path, "case", "GTV", VARIANCE))).max() == pytest.approx(0)
