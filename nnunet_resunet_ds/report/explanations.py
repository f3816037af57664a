"""Explain in a sentence each what the numbers of a report mean that are not told by their name."""

from collections.abc import Mapping

from nnunet_resunet_ds.evaluation.penalties import lesion_penalty, penalised_lesions, region_penalty
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
    near = "95 % of the surfaces of prediction and reference are nearer to the other than this"
    told["hd95"] = f"{near}; {region_penalty(protocol)}."
    size = protocol.size_rule
    lesions = f"lesions of at least {size.large_from:g} mm³" if size else "the single lesions"
    told["lesion_dice"] = f"Mean Dice of {lesions}; {penalised_lesions(protocol)} has 0."
    told["lesion_hd95"] = f"Mean HD95 of {lesions}; {lesion_penalty(protocol)}."
    return told
