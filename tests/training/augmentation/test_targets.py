"""Background, regions and the targets of the heads are nnU-Net's, voxel for voxel."""

import torch
from augmented import PATCH, REGIONS, SCALES, made_up_sample, nnunet_transforms
from hypothesis import given
from hypothesis import strategies as st

from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers
from nnunet_resunet_ds.training.augmentation.targets import at_scale
from nnunet_resunet_ds.training.augmentation.transform import Sample
from nnunet_resunet_ds.training.augmentation.translation import pipeline_like

LAST = ("MaskImageTransform", "RemoveLabelTransform", "ConvertSegmentationToRegionsTransform")
NUMBERS = RandomNumbers(torch.device("cpu"), [0])


def theirs(image, labels, transforms):
    """Return what nnU-Net's last transforms make of a sample."""
    values = {"image": image.clone(), "segmentation": labels.clone()}
    for transform in transforms.transforms:
        if type(transform).__name__ in (*LAST, "DownsampleSegForDSTransform"):
            values = transform(**values)
    return values["image"], values["segmentation"]


def ours(image, labels, transforms):
    pipeline = pipeline_like(transforms, [0, 1, 2, 3, 4])
    sample = Sample(image.clone(), labels.clone())
    for transform in pipeline.transforms[-len(LAST) :]:
        sample = transform(sample, NUMBERS)
    return sample.image, [at_scale(sample.segmentation[None], scale)[0] for scale in pipeline.scales]


def assert_same(image, labels, transforms):
    expected_image, expected = theirs(image, labels, transforms)
    found_image, found = ours(image, labels, transforms)
    assert torch.equal(found_image, expected_image)
    assert [target.dtype for target in found] == [torch.bool] * len(expected)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


@given(st.tuples(*[st.integers(4, 13)] * 3), st.integers(0, 2**16), st.sampled_from([None, 4]))
def test_targets_and_background_are_theirs(shape, seed, ignore):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 5 if ignore else 4, (1, *shape), generator=generator, dtype=torch.int16)
    image = torch.randn(4, *shape, generator=generator)
    assert_same(image, labels, nnunet_transforms(shape, ignore_label=ignore))


@given(st.lists(st.sampled_from([1.0, 0.5, 1 / 3, 0.25]), min_size=3, max_size=3))
def test_any_scale_samples_as_theirs_does(scale):
    image, labels = made_up_sample(PATCH)
    assert_same(image, labels, nnunet_transforms(PATCH, [[1.0] * 3, scale]))


def test_only_channels_that_were_normalised_in_a_mask_are_set_back():
    image, labels = made_up_sample(PATCH)
    image += 1
    transforms = nnunet_transforms(PATCH, use_mask_for_norm=[True, False, True, False])
    found, _ = ours(image, labels, transforms)
    outside = labels[0] < 0
    assert not found[[0, 2]][:, outside].any() and (found[[1, 3]] == image[[1, 3]]).all()
    assert_same(image, labels, transforms)


def test_there_are_three_targets_of_three_regions():
    image, labels = made_up_sample(PATCH)
    _, targets = ours(image, labels, nnunet_transforms())
    sizes = [tuple(round(length * scale[0]) for length in PATCH) for scale in SCALES]
    assert [tuple(target.shape) for target in targets] == [(len(REGIONS), *size) for size in sizes]
