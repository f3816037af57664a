"""Join the masks that several sources have of one region into one: majority, STAPLE or SIMPLE; and label maps of them.

Sources: STAPLE is Warfield et al. 2004, as SimpleITK has it. SIMPLE is Langerak et al. 2010: sources far from the joint
mask are left out, and the others count by their Dice with it, until it stays the same.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from nnunet_resunet_ds.base.regions import Region, regions_class_order
from nnunet_resunet_ds.evaluation.dice import dice

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
MemberWeights = Sequence[float]
Fuse = Callable[[Sequence[Mask], MemberWeights], Mask]

STAPLE_ITERATIONS = 100
"""At most."""
SIMPLE_ITERATIONS = 25
"""At most."""
LEAST_SOURCES = 3
"""That SIMPLE keeps, where there are as many: of two, neither is known to be the worse one."""
_ROUNDING = 1e-9
"""Relative: half the weight is no majority, also where 0.1 + 0.2 is not 0.3."""


def majority(masks: Sequence[Mask], weights: MemberWeights) -> Mask:
    """Return the voxels that more than half of the weight marks; at half they are background, as for nnU-Net."""
    marked = np.zeros(masks[0].shape)
    for mask, weight in zip(masks, weights, strict=True):
        marked += mask * float(weight)
    is_more: Mask = marked > sum(weights) / 2 * (1 + _ROUNDING)
    return is_more


def staple(masks: Sequence[Mask], weights: MemberWeights) -> Mask:
    """Return the voxels that STAPLE gives a probability of more than a half.

    It estimates sensitivity and specificity of each source along with the mask, so ``weights`` are not looked at. What
    it takes as a rare region depends on the volume around: it gets the box of all that any of them marks.
    """
    anywhere: Mask = np.logical_or.reduce(masks)
    result: Mask = np.zeros_like(anywhere)
    if not anywhere.any() or all(np.array_equal(mask, masks[0]) for mask in masks[1:]):
        return anywhere
    box = find_objects(anywhere.view(np.uint8))[0]
    images = [sitk.GetImageFromArray(mask[box].view(np.uint8)) for mask in masks]
    filtering = sitk.STAPLEImageFilter()
    filtering.SetForegroundValue(1)
    filtering.SetMaximumIterations(STAPLE_ITERATIONS)
    result[box] = sitk.GetArrayFromImage(filtering.Execute(images)) > 0.5
    return result


def simple(masks: Sequence[Mask], weights: MemberWeights) -> Mask:
    """Return what SIMPLE makes of them, beginning with their weighted majority.

    In each round the sources whose Dice with the joint mask is more than a standard deviation below the mean are left
    out, but never so many that fewer than `LEAST_SOURCES` stay. The others count by their weight times their Dice.
    """
    kept = list(range(len(masks)))
    joint = majority(masks, weights)
    for _ in range(SIMPLE_ITERATIONS):
        found = {number: dice(masks[number], joint) for number in kept}
        kept = _near(found)
        counted = [weights[number] * found[number] for number in kept]
        if not any(counted):
            return joint
        following = majority([masks[number] for number in kept], counted)
        if np.array_equal(following, joint):
            break
        joint = following
    return joint


def _near(found: Mapping[int, float]) -> list[int]:
    """Return the sources that SIMPLE keeps, by their Dice."""
    values = list(found.values())
    limit = np.mean(values) - np.std(values)
    best_first = sorted(found, key=lambda number: -found[number])
    return sorted({number for number in found if found[number] >= limit} | set(best_first[:LEAST_SOURCES]))


METHODS: Mapping[str, Fuse] = {"majority": majority, "staple": staple, "simple": simple}


def fused_labels(
    label_maps: Sequence[Labels],
    regions: Sequence[Region],
    fuse: Fuse,
    weights: MemberWeights,
    n_regions: Sequence[int] | None = None,
) -> Labels:
    """Fuse each region on its own, and paint them in their order.

    A region inside another (ET in TC in WT) counts inside it only, so that they stay nested whatever the method.

    Args:
        label_maps: (Z, Y, X) each, in nnU-Net's values.
        regions: in the order in which they are painted.
        fuse: one of `METHODS`.
        weights: of the label maps.
        n_regions: how many of the regions, from the first on, each label map is of; None is all. A source that does
            not know a region has no say in it.
    """
    of_each = [len(regions)] * len(label_maps) if n_regions is None else n_regions
    masks = []
    for number, region in enumerate(regions):
        known = [source for source, n in enumerate(of_each) if n > number]
        masks.append(fuse([region.mask(label_maps[source]) for source in known], [weights[source] for source in known]))
    joint = np.zeros(label_maps[0].shape, np.uint8)
    for number, (region, label) in enumerate(zip(regions, regions_class_order(regions), strict=True)):
        for around, mask in zip(regions[:number], masks[:number], strict=True):
            if set(region.tissues) < set(around.tissues):
                masks[number] &= mask
        joint[masks[number]] = label
    return joint
