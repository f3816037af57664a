"""Rotation, scaling and cropping are batchgeneratorsv2's, voxel for voxel."""

import numpy as np
import pytest
import torch
from augmented import BOX, LABELS, made_up_sample, middle, nnunet_transforms
from batchgeneratorsv2.transforms.spatial.spatial import create_affine_matrix_3d
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers
from nnunet_resunet_ds.training.augmentation.spatial import (
    Crop,
    Spatial,
    affine_matrix,
    patch_about,
    resampled_labels,
    sampling_grid,
)

CPU = torch.device("cpu")


def theirs():
    return nnunet_transforms().transforms[0]


def ours():
    return Spatial.like(theirs(), LABELS)


def parameters_of(seed, **probabilities):
    """Draw with batchgeneratorsv2's own function."""
    transform = theirs()
    for name, value in probabilities.items():
        setattr(transform, name, value)
    np.random.seed(seed)
    return transform.get_parameters(image=torch.zeros(4, *BOX))


angles = st.floats(-np.pi, np.pi)


@given(st.tuples(angles, angles, angles), st.floats(0.1, 10))
def test_the_matrix_is_theirs(three_angles, scale):
    expected = create_affine_matrix_3d(three_angles, [scale] * 3)
    np.testing.assert_allclose(affine_matrix(three_angles, scale), expected, atol=1e-12 * scale)


@pytest.mark.parametrize("seed", range(8))
def test_rotated_and_scaled_samples_are_theirs(seed):
    image, labels = made_up_sample(seed=seed)
    parameters = parameters_of(seed, p_rotation=1 if seed % 3 else 0, p_scaling=1 if seed % 4 != 1 else 0)
    expected = theirs()._apply_to_image(image, **parameters), theirs()._apply_to_segmentation(labels, **parameters)
    found = ours().apply(Crop(image, labels, middle(BOX)), parameters["affine"])
    torch.testing.assert_close(found.image, expected[0], rtol=0, atol=5e-5)
    assert found.segmentation.dtype == expected[1].dtype == torch.int16
    assert (found.segmentation != expected[1]).float().mean() < 1e-4  # where rounding parts two equal shares
    assert {-1, 0, 1, 2} <= set(torch.unique(expected[1]).tolist())


def test_equal_shares_are_settled_by_the_nearest_voxel_as_theirs_are():
    """Half-way between two voxels each share is a half: a grid shifted so meets nothing else."""
    labels = torch.arange(-1, 4, dtype=torch.int16).repeat(12).view(1, 3, 4, 5)
    grid = sampling_grid(np.eye(3), (3, 4, 4), Crop(labels.float(), labels, [1.5, 2, 2.5]))
    nearest = F.grid_sample(labels[None].float(), grid, mode="nearest", align_corners=False)[0]
    found = resampled_labels(labels, grid, (-1, *LABELS))
    expected = theirs()
    expected.patch_size = (3, 4, 4)
    assert torch.equal(found, expected._apply_to_segmentation(labels, grid=grid[0]))
    assert torch.equal(found.float(), nearest)


def test_without_rotation_and_scaling_the_middle_is_cut_out_exactly():
    image, labels = made_up_sample()
    parameters = parameters_of(0, p_rotation=0, p_scaling=0)
    found = ours().apply(Crop(image, labels, middle(BOX)), None)
    assert torch.equal(found.image, theirs()._apply_to_image(image, **parameters))
    assert torch.equal(found.segmentation, theirs()._apply_to_segmentation(labels, **parameters))
    found.image.zero_()
    assert image.any()  # a patch is no view of its case


corners = st.tuples(*[st.integers(-25, 25)] * 3)


@given(corners, st.booleans())
def test_what_lies_around_a_case_need_not_be_stored(corner, rotates):
    """A part of the box in a case of other size gives what the padded box does."""
    image, labels = made_up_sample((30, 31, 32))
    inside = [slice(max(first, 0), min(first + size, length)) for first, size, length in zip(
        corner, BOX, image.shape[1:], strict=True)]  # fmt: skip
    padding = [side for first, size, length in reversed(list(zip(corner, BOX, image.shape[1:], strict=True)))
               for side in (max(-first, 0), max(first + size - length, 0))]  # fmt: skip
    parts = [values[(slice(None), *inside)] for values in (image, labels)]
    padded = Crop(F.pad(parts[0], padding), F.pad(parts[1], padding, value=-1), middle(BOX))
    centre = [size / 2 + first - one.start for first, size, one in zip(corner, BOX, inside, strict=True)]
    matrix = affine_matrix([0.3, -0.4, 0.5], 1.2) if rotates else None
    expected, found = (ours().apply(crop, matrix) for crop in (padded, Crop(*parts, centre)))
    torch.testing.assert_close(found.image, expected.image, rtol=0, atol=5e-5)
    assert (found.segmentation != expected.segmentation).float().mean() < (1e-3 if rotates else 1e-9)


@given(st.tuples(*[st.floats(-60, 60)] * 3))
def test_a_patch_about_any_point_is_that_of_the_padded_values(centre):
    values = torch.arange(3 * 4 * 5.0).view(1, 3, 4, 5) + 1
    padded = F.pad(values, [90] * 6, value=-7)
    starts = [int(np.floor(middle)) - size // 2 + 90 for middle, size in zip(centre, (4, 2, 3), strict=True)]
    expected = padded[:, starts[0] : starts[0] + 4, starts[1] : starts[1] + 2, starts[2] : starts[2] + 3]
    assert torch.equal(patch_about(values, centre, (4, 2, 3), outside=-7), expected)


def test_a_patch_without_interpolation_is_drawn_as_often_as_theirs():
    random, spatial, n = RandomNumbers(CPU, [0]), ours(), 20000
    drawn = [spatial.draw(random) for _ in range(n)]
    assert np.mean([matrix is None for matrix in drawn]) == pytest.approx(0.8 * 0.8, abs=4 * np.sqrt(0.64 * 0.36 / n))
    assert {matrix.shape for matrix in drawn if matrix is not None} == {(3, 3)}


def noisy_labels(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 4, (1, *shape), generator=generator, dtype=torch.int16)


def test_where_eight_voxels_are_as_near_ties_are_settled_as_theirs_are():
    """At the corners between voxels three labels often meet, and the nearest voxel's is not among the best."""
    labels = noisy_labels((17, 18, 19), seed=0)
    grid = sampling_grid(np.eye(3), (16, 17, 18), Crop(labels.float(), labels, [8.5, 9, 9.5]))
    transform = theirs()
    transform.patch_size = (16, 17, 18)
    expected = transform._apply_to_segmentation(labels, grid=grid[0])
    assert torch.equal(resampled_labels(labels, grid, (-1, *LABELS)), expected)
    nearest = F.grid_sample(labels[None].float(), grid, mode="nearest", align_corners=False)[0]
    assert 0.1 < (expected != nearest).float().mean() < 0.9


@pytest.mark.parametrize("seed", range(3))
def test_shares_that_are_nearly_equal_are_ties_where_they_are_for_batchgeneratorsv2(seed):
    """In labels without any order, where every voxel is a border; the same grid, so that nothing else may differ."""
    labels, parameters = noisy_labels(BOX, seed), parameters_of(seed, p_rotation=1, p_scaling=1)
    found = resampled_labels(labels, parameters["grid"][None], (-1, *LABELS))
    differing = (found != theirs()._apply_to_segmentation(labels, **parameters)).float().mean()
    assert differing < 1e-4
