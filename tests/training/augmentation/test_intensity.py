"""Each transform of values does what batchgeneratorsv2's does with the same parameters."""

import numpy as np
import pytest
import torch
from augmented import PATCH, made_up_sample
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.noise import gaussian_blur
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from hypothesis import given
from hypothesis import strategies as st

from nnunet_resunet_ds.training.augmentation.blur import GaussianBlur, kernel
from nnunet_resunet_ds.training.augmentation.brightness import Brightness
from nnunet_resunet_ds.training.augmentation.contrast import Contrast
from nnunet_resunet_ds.training.augmentation.distributions import Uniform
from nnunet_resunet_ds.training.augmentation.gamma import Bend, Gamma
from nnunet_resunet_ds.training.augmentation.low_resolution import LowResolution
from nnunet_resunet_ds.training.augmentation.mirror import Mirror
from nnunet_resunet_ds.training.augmentation.noise import GaussianNoise
from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers
from nnunet_resunet_ds.training.augmentation.transform import Sample

ANY = Uniform(0, 1)
"""Parameters are given here, not drawn."""


def numbers(seed=0):
    return RandomNumbers(torch.device("cpu"), [seed])


def compare(ours, parameters, theirs, their_parameters, seed=0, atol=2e-5):
    image, labels = made_up_sample(PATCH, seed)
    expected = theirs._apply_to_image(image.clone(), **their_parameters)
    found = ours.apply(Sample(image.clone(), labels), parameters, numbers()).image
    assert not torch.equal(expected, image)
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


some_channels = st.sets(st.integers(0, 3), min_size=1).map(sorted)


@given(st.floats(0.01, 5))
def test_a_kernel_is_theirs(sigma):
    expected = gaussian_blur._build_kernel(sigma, truncate=6)
    np.testing.assert_allclose(kernel(sigma), expected, atol=1e-6)


@pytest.mark.parametrize(("channels", "seed"), [([0, 1, 2, 3], 0), ([2], 1), ([0, 3], 2)])
def test_blurred_channels_are_theirs(channels, seed):
    sigmas = np.random.default_rng(seed).uniform(0.5, 1, (len(channels), 3)).tolist()
    chosen = torch.tensor([channel in channels for channel in range(4)])
    theirs = gaussian_blur.GaussianBlurTransform((0.5, 1), p_per_channel=0.5)
    ours = GaussianBlur(ANY, 0.5)
    compare(ours, dict(zip(channels, sigmas, strict=True)), theirs, {"apply_to_channel": chosen, "sigmas": sigmas})


@given(some_channels, st.lists(st.floats(0.5, 1.25), min_size=4, max_size=4))
def test_brighter_channels_are_theirs(channels, factors):
    factors = factors[: len(channels)]
    factors[0] += 1  # so that something changes
    theirs = MultiplicativeBrightnessTransform((0, 1), synchronize_channels=False)
    expected = {"apply_to_channel": channels, "multipliers": torch.tensor(factors)}
    compare(Brightness(ANY, 1, False), dict(zip(channels, factors, strict=True)), theirs, expected)


@given(some_channels, st.lists(st.floats(0.5, 1.25), min_size=4, max_size=4), st.booleans())
def test_stretched_channels_are_theirs(channels, factors, preserve_range):
    factors = factors[: len(channels)]
    factors[0] += 1
    theirs = ContrastTransform((0, 1), preserve_range, synchronize_channels=False)
    expected = {"apply_to_channel": torch.tensor(channels), "multipliers": torch.tensor(factors)}
    compare(Contrast(ANY, 1, False, preserve_range), dict(zip(channels, factors, strict=True)), theirs, expected)


@pytest.mark.parametrize("scale", [0.5, 0.500001, 0.62, 0.77, 0.8125, 0.95])
def test_channels_of_low_resolution_are_theirs(scale):
    theirs = SimulateLowResolutionTransform((0.5, 1), False, True, None)
    expected = {"apply_to_channel": torch.tensor([1, 3]), "scales": torch.tensor([[scale] * 3] * 2)}
    compare(LowResolution(ANY, 1, False), {1: scale, 3: scale}, theirs, expected)


@given(some_channels, st.floats(0.7, 1.5), st.booleans(), st.booleans())
def test_bent_channels_are_theirs(channels, gamma, inverted, retain_stats):
    gamma = gamma if abs(gamma - 1) > 0.01 else 1.2
    theirs = GammaTransform((0.7, 1.5), 1, False, 1, 1)
    n = len(channels)
    expected = {
        "apply_to_channel": torch.tensor(channels),
        "retain_stats": torch.tensor([retain_stats] * n),
        "invert_image": torch.tensor([inverted] * n),
        "gamma": torch.tensor([gamma] * n),
    }
    compare(Gamma(ANY, 1, 1, 1, False), dict.fromkeys(channels, Bend(gamma, inverted, retain_stats)), theirs, expected)


@pytest.mark.parametrize("axes", [[], [0], [1, 2], [0, 1, 2]])
def test_mirrored_samples_are_theirs(axes):
    image, labels = made_up_sample(PATCH)
    theirs = MirrorTransform((0, 1, 2))
    found = Mirror((0, 1, 2)).apply(Sample(image, labels), axes, numbers())
    assert torch.equal(found.image, theirs._apply_to_image(image, axes=axes))
    assert torch.equal(found.segmentation, theirs._apply_to_segmentation(labels, axes=axes))


def test_noise_has_the_deviation_that_was_drawn_and_is_another_in_each_channel():
    """Oracle: the closed form of a normal distribution, within four deviations of an estimate from so many voxels."""
    shape = (4, 40, 40, 40)
    sample = Sample(torch.ones(shape), torch.zeros(shape[1:])[None])
    noisy = GaussianNoise(ANY, 1, True).apply(sample, {0: 0.1, 2: 0.1, 3: 0.02}, numbers()).image - 1
    n = noisy[0].numel()
    assert not noisy[1].any()
    for channel, deviation in ((0, 0.1), (2, 0.1), (3, 0.02)):
        assert noisy[channel].std().item() == pytest.approx(deviation, rel=4 / np.sqrt(2 * n))
        assert abs(noisy[channel].mean().item()) < 4 * deviation / np.sqrt(n)
    correlation = torch.corrcoef(torch.stack([noisy[0].flatten(), noisy[2].flatten()]))[0, 1]
    assert abs(correlation.item()) < 4 / np.sqrt(n)
    within = (noisy[0].abs() < 0.1).float().mean().item()
    assert within == pytest.approx(0.6827, abs=0.01)  # of a normal distribution, within one deviation
