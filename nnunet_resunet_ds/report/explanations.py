"""Explain in a sentence each what the numbers of a report mean that are not told by their name."""

from collections.abc import Mapping

from nnunet_resunet_ds.evaluation.protocols import Protocol
from nnunet_resunet_ds.uncertainty.region_certainty import (
    AROUND,
    DISAGREEMENT,
    ENTROPY_AROUND,
    ENTROPY_INSIDE,
    EXPECTED,
    LIKELY,
    POSSIBLE,
    VOLUME_LIMITS,
)

_LEAST, _LARGEST = VOLUME_LIMITS
_EXPLANATIONS = {
    EXPECTED: "The Dice that predict expected without a reference, from its probabilities, as tune has learnt it.",
    ENTROPY_INSIDE: "How undecided the voxels of the region are: 0 bits where each probability is 0 or 1, 1 bit where "
    "all are 0.5.",
    ENTROPY_AROUND: f"How undecided the voxels around the region are, up to {AROUND} voxels from it: from 0 to 1 bit.",
    DISAGREEMENT: "1 minus the Dice of two folds of the model, on average: 0 where all agree, 1 where none does.",
    _LEAST: f"Volume of the voxels with a probability of {LIKELY} or more: the region is hardly smaller.",
    _LARGEST: f"Volume of the voxels with a probability of {POSSIBLE} or more: the region is hardly larger.",
    "hd95": "95 % of the surfaces of prediction and reference are nearer to the other than this.",
    "lesion_dice": "Mean Dice of the single lesions; a missed lesion and a false one have 0.",
    "lesion_hd95": "Mean HD95 of the single lesions.",
}


def explanations(protocol: Protocol, errors: Mapping[str, float]) -> dict[str, str]:
    """Return name of a number → what it means.

    Args:
        protocol: whose penalty stands for what was not measured.
        errors: region → mean error of the Dice to expect, as far as it is known.
    """
    told = dict(_EXPLANATIONS)
    if errors:
        off = ", ".join(f"{error:.2f} ({region})" for region, error in errors.items())
        told[EXPECTED] += f" On cases that it had not learnt from, it was off by {off} on average."
    penalty = "The diagonal of the image" if protocol.penalty is None else f"{protocol.penalty:g} mm"
    told["hd95"] += f" {penalty} stands for a region that was missed or invented."
    told["lesion_hd95"] += f" {penalty} stands for a lesion that was missed or is false."
    return told
