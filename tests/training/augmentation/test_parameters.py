"""Parameters are drawn from the distributions that nnU-Net's transforms draw from."""

import numpy as np
import pytest
import torch
from augmented import LABELS, PATCH, made_up_sample, nnunet_transforms
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from scipy.stats import binomtest, ks_2samp

from nnunet_resunet_ds.training.augmentation.distributions import AroundOne, Uniform, distribution
from nnunet_resunet_ds.training.augmentation.nnunet_settings import NotOnDeviceError
from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers
from nnunet_resunet_ds.training.augmentation.transform import Sample, Sometimes
from nnunet_resunet_ds.training.augmentation.translation import pipeline_like

N = 1500
"""Draws."""
ALPHA = 1e-4
"""Of a false alarm of one comparison; with these seeds there is none."""
SAMPLE = Sample(torch.zeros(4, 1, 1, 1), torch.zeros(1, 1, 1, 1))
PIPELINE = pipeline_like(nnunet_transforms(), LABELS)
OURS = PIPELINE.transforms
THEIRS = nnunet_transforms().transforms[1:]


@pytest.fixture
def random():
    np.random.seed(1)
    torch.manual_seed(1)
    return RandomNumbers(torch.device("cpu"), [1])


def pairs(kind):
    """Return our and their transform of each of nnU-Net's transforms of a kind, and their share of samples."""
    found = []
    for ours, theirs in zip(OURS, THEIRS, strict=False):
        inner = getattr(theirs, "transform", theirs)
        if type(inner) is kind:
            found.append((ours.transform if isinstance(ours, Sometimes) else ours, inner))
    return found


def draws(ours, theirs, random):
    """Return N draws of ours, and N of batchgeneratorsv2's own function."""
    return [ours.draw(random, SAMPLE) for _ in range(N)], [theirs.get_parameters(image=SAMPLE.image) for _ in range(N)]


def assert_alike(ours, theirs, low, high):
    """Compare two samples of a distribution, and its bounds."""
    assert ks_2samp(ours, theirs).pvalue > ALPHA
    margin = (high - low) / 50
    assert low <= min(ours) < low + margin and high - margin < max(ours) <= high


def assert_share(count, n, probability):
    assert binomtest(int(count), n, probability).pvalue > ALPHA


def flat(lists):
    return [value for one in lists for value in one]


def test_noise(random):
    ((ours, theirs),) = pairs(GaussianNoiseTransform)
    found, expected = draws(ours, theirs, random)
    assert all(set(one) == {0, 1, 2, 3} and len(set(one.values())) == 1 for one in found)
    assert_alike([one[0] for one in found], [one["sigmas"] for one in expected], 0, 0.1)


def test_blur(random):
    ((ours, theirs),) = pairs(GaussianBlurTransform)
    found, expected = draws(ours, theirs, random)
    assert_share(sum(map(len, found)), 4 * N, 0.5)
    assert_share(sum(int(one["apply_to_channel"].sum()) for one in expected), 4 * N, 0.5)
    for axis in range(3):
        sides = (
            [values[axis] for one in found for values in one.values()],
            [values[axis] for one in expected for values in one["sigmas"]],
        )
        assert_alike(*sides, 0.5, 1)
    assert len(set(flat(found[0].values() or found[1].values()))) > 1  # axes have widths of their own


@pytest.mark.parametrize("kind", [MultiplicativeBrightnessTransform, ContrastTransform])
def test_brightness_and_contrast(random, kind):
    ((ours, theirs),) = pairs(kind)
    found, expected = draws(ours, theirs, random)
    assert all(set(one) == {0, 1, 2, 3} and len(set(one.values())) == 4 for one in found)
    sides = flat(one.values() for one in found), flat(one["multipliers"].tolist() for one in expected)
    assert_alike(*sides, 0.75, 1.25)
    assert_share(sum(value < 1 for value in sides[0]), 4 * N, 0.5)


def test_low_resolution(random):
    ((ours, theirs),) = pairs(SimulateLowResolutionTransform)
    found, expected = draws(ours, theirs, random)
    assert_share(sum(map(len, found)), 4 * N, 0.5)
    scales = flat(one["scales"].tolist() for one in expected)
    assert all(len(set(scale)) == 1 for scale in scales)
    assert_alike(flat(one.values() for one in found), [scale[0] for scale in scales], 0.5, 1)


def test_gamma(random):
    both = pairs(GammaTransform)
    assert [ours.p_invert_image for ours, _ in both] == [1, 0]
    for ours, theirs in both:
        found, expected = draws(ours, theirs, random)
        inverted = bool(ours.p_invert_image)
        assert all(set(one) == {0, 1, 2, 3} for one in found)
        assert {(bend.inverted, bend.retain_stats) for one in found for bend in one.values()} == {(inverted, True)}
        assert all((one["invert_image"] == inverted).all() and one["retain_stats"].all() for one in expected)
        sides = [bend.gamma for one in found for bend in one.values()], flat(one["gamma"].tolist() for one in expected)
        assert_alike(*sides, 0.7, 1.5)
        assert_share(sum(value < 1 for value in sides[0]), 4 * N, 0.5)


def test_mirror(random):
    ((ours, theirs),) = pairs(MirrorTransform)
    found, expected = draws(ours, theirs, random)
    for side in (found, [one["axes"] for one in expected]):
        for axis in range(3):
            assert_share(sum(axis in axes for axes in side), N, 0.5)
    assert len({tuple(axes) for axes in found}) == 8


def test_rotation_and_scaling(random):
    theirs = nnunet_transforms().transforms[0]
    theirs._get_base_grid_clone = lambda: torch.zeros(1, 1, 1, 3)  # a whole grid a draw would take long
    drawn = [PIPELINE.spatial.draw(random) for _ in range(4 * N)]
    expected = [theirs.get_parameters(image=torch.zeros(4, 1, 1, 1))["affine"] for _ in range(4 * N)]
    counts = []
    for side in (drawn, expected):
        matrices = [matrix for matrix in side if matrix is not None]
        scales = np.array([np.linalg.det(matrix) ** (1 / 3) for matrix in matrices])
        turned = np.array(
            [not np.allclose(matrix, np.eye(3) * scale) for matrix, scale in zip(matrices, scales, strict=True)]
        )
        scaled = ~np.isclose(scales, 1)
        for is_drawn in (turned, scaled):
            assert_share(is_drawn.sum(), 4 * N, 0.2)
        assert_share((turned & scaled).sum(), 4 * N, 0.04)
        rotations = [matrix / scale for matrix, scale, yes in zip(matrices, scales, turned, strict=True) if yes]
        # of Rz Ry Rx: the angles about Z, Y, X
        angles = [[np.arctan2(r[2, 1], r[2, 2]), np.arcsin(-r[2, 0]), np.arctan2(r[1, 0], r[0, 0])] for r in rotations]
        counts.append((np.array(angles), scales[scaled]))
    (our_angles, our_scales), (their_angles, their_scales) = counts
    for axis in range(3):
        assert_alike(our_angles[:, axis], their_angles[:, axis], -np.pi / 6, np.pi / 6)
    assert_alike(our_scales, their_scales, 0.7, 1.4)


def test_shares_of_samples_are_nnunet_s(random):
    """From nnU-Net's paper and source: what a change there must not do without notice."""
    shares = [one.probability for one in OURS if isinstance(one, Sometimes)]
    assert shares == [0.1, 0.2, 0.15, 0.15, 0.25, 0.1, 0.3]
    for transform in OURS[: len(shares)]:
        assert_share(sum(transform.draw(random, SAMPLE) for _ in range(N)), N, transform.probability)


def test_a_synchronised_draw_is_shared_by_all_channels(random):
    values = random.of_channels(4, 1, lambda: random.draw(Uniform(0, 1)), synchronized=True)
    assert len(values) == 4 and len(set(values.values())) == 1


@pytest.mark.parametrize(
    ("scalar", "expected"),
    [(3, Uniform(3, 3)), (0.5, Uniform(0.5, 0.5)), ((1, 2), Uniform(1, 2)), ([1, 2], Uniform(1, 2)),
     (BGContrast((0.75, 1.25)), AroundOne(0.75, 1.25))],
)  # fmt: skip
def test_scalars_of_batchgeneratorsv2_are_read(scalar, expected):
    assert distribution(scalar) == expected


@pytest.mark.parametrize("bounds", [(0.7, 1.5), (1.1, 1.5), (1, 2)])
def test_contrast_ranges_are_drawn_from_as_theirs_are(bounds):
    np.random.seed(0)
    numbers, theirs = np.random.default_rng(0), BGContrast(bounds)
    assert_alike([AroundOne(*bounds).draw(numbers) for _ in range(N)], [theirs() for _ in range(N)], *bounds)


def test_other_functions_are_refused():
    with pytest.raises(NotOnDeviceError, match="it draws from"):
        distribution(lambda *_, **__: 1.0)


def test_made_up_samples_have_every_label():
    assert set(torch.unique(made_up_sample(PATCH)[1]).tolist()) == {-1, *LABELS}
