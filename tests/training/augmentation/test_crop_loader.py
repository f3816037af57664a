"""The loader cuts the boxes that nnU-Net's loader cuts, without what lies around the case."""

import numpy as np
import pytest
import torch
from augmented import made_up_sample
from hypothesis import given
from hypothesis import strategies as st
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2, nnUNetDatasetNumpy
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from torch.nn import functional as F

from nnunet_resunet_ds.training.augmentation.crop_loader import CENTRES, CropLoader, cut

SHAPES = ((20, 44, 31), (50, 23, 36), (40, 41, 42))
"""Of cases: smaller and larger than the box."""
BOX, PATCH = (27, 33, 29), (16, 20, 16)
LABELS = LabelManager({"background": 0, "WT": [1, 2, 3], "TC": [2, 3], "ET": [3]}, [1, 2, 3])


@pytest.fixture(params=[nnUNetDatasetBlosc2, nnUNetDatasetNumpy], ids=["blosc2", "numpy"])
def cases(request, tmp_path):
    """A dataset in each of nnU-Net's formats."""
    for number, shape in enumerate(SHAPES):
        image, labels = (values.numpy() for values in made_up_sample(shape, seed=number))
        places = {label: np.argwhere(labels == label) for label in (1, 2, 3)}
        request.param.save_case(image, labels, {"class_locations": places}, str(tmp_path / f"case_{number}"))
    return request.param(str(tmp_path))


def loader(kind, cases):
    return kind(cases, 3, BOX, PATCH, LABELS, oversample_foreground_percent=0.33)


def padded(values, centre, outside):
    """Return the box around a centre, padded as nnU-Net does."""
    firsts = [int(middle - size / 2) for middle, size in zip(centre, BOX, strict=True)]
    sides = [(-first, first + size - length) for first, size, length in zip(firsts, BOX, values.shape[1:], strict=True)]
    assert all(side >= 0 for pair in sides for side in pair)  # nothing is there that does not belong to the box
    return F.pad(values, [side for pair in reversed(sides) for side in pair], value=outside)


@pytest.mark.filterwarnings("ignore:.*empty chunks or blocks")
def test_padded_its_crops_are_nnunet_s_batches(cases):
    ours, theirs = loader(CropLoader, cases), loader(nnUNetDataLoader, cases)
    for seed in range(12):
        np.random.seed(seed)
        found = next(ours)
        np.random.seed(seed)
        expected = next(theirs)
        assert list(found["keys"]) == list(expected["keys"])
        for number, centre in enumerate(found[CENTRES]):
            image, labels = found["data"][number], found["target"][number]
            assert (image.dtype, labels.dtype) == (torch.float32, torch.int16)
            assert torch.equal(padded(image, centre, 0.0), expected["data"][number])
            assert torch.equal(padded(labels, centre, -1), expected["target"][number])
            assert image.is_contiguous() and all(type(value) is float for value in centre)


@st.composite
def boxes_that_meet_a_case(draw):
    """First corner of a box, and the shape of a case that it meets, as nnU-Net's boxes always do."""
    shape = [draw(st.integers(1, 30)) for _ in BOX]
    return [draw(st.integers(1 - box, size - 1)) for box, size in zip(BOX, shape, strict=True)], shape


@given(boxes_that_meet_a_case())
def test_a_cut_is_the_part_of_the_box_in_the_case(box_and_case):
    """Brute force: mark the box in a large volume, and look where it meets the case."""
    firsts, shape = box_and_case
    lasts = [first + size for first, size in zip(firsts, BOX, strict=True)]
    slices, centre = cut(firsts, lasts, shape)
    for axis, one in enumerate(slices):
        met = sorted(set(range(firsts[axis], lasts[axis])) & set(range(shape[axis])))
        assert list(range(one.start, one.stop)) == met
        assert one.start + centre[axis] == (firsts[axis] + lasts[axis]) / 2


@pytest.mark.filterwarnings("ignore:.*empty chunks or blocks")
def test_only_what_is_used_is_kept_in_memory(cases):
    """A part of a mapped file would keep the file open, and a view the whole case."""
    batch = next(loader(CropLoader, cases))
    for image in batch["data"]:
        assert image.untyped_storage().nbytes() == image.numel() * 4
        image.add_(1)  # may be written to
