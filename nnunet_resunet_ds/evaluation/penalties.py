"""Say where the penalty of a protocol stands in place of a measured HD95, and in how many cases."""

import math
from collections.abc import Iterator, Mapping

from nnunet_resunet_ds.evaluation.cohort_metrics import Evaluation
from nnunet_resunet_ds.evaluation.protocols import Matching, Protocol


def penalty_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield a line about the regions that have the penalty, and one about the lesions; nothing where none has it."""
    protocol, cases = evaluation.protocol, evaluation.cases.values()
    n = {region: sum(has_penalty(case[region], protocol) for case in cases) for region in protocol.regions}
    penalised = {region: count for region, count in n.items() if count}
    if penalised:
        where = ", ".join(f"{region} in {count}" for region, count in penalised.items())
        of_all = f"{where} of {len(cases)} cases" if len(cases) > 1 else ", ".join(penalised)
        yield f"HD95: {region_penalty(protocol)}: {of_all}"
    counts = ("n_fn", "n_fp") if protocol.false_lesions_count else ("n_fn",)
    if protocol.matching is Matching.NEAR and any(
        of[name] for case in cases for of in case.values() for name in counts
    ):
        yield f"Lesion-wise HD95: {lesion_penalty(protocol)}"


def region_penalty(protocol: Protocol) -> str:
    """Say what stands for the HD95 of which regions."""
    elsewhere = ", or is all elsewhere" if protocol.needs_overlap else ""
    return f"{_penalty(protocol)} stands for a region that was missed or invented{elsewhere}"


def lesion_penalty(protocol: Protocol) -> str:
    """Say what stands for the HD95 of which lesions."""
    return f"{_penalty(protocol)} stands for {penalised_lesions(protocol)}"


def penalised_lesions(protocol: Protocol) -> str:
    """Say which lesions have no counterpart and count in the means."""
    return "each missed and each false lesion" if protocol.false_lesions_count else "each missed lesion"


def _penalty(protocol: Protocol) -> str:
    return "the diagonal of the image" if protocol.penalty is None else f"{protocol.penalty:g} mm"


def has_penalty(metrics: Mapping[str, float], protocol: Protocol) -> bool:
    """Tell whether the HD95 of a region is the penalty, and was not measured.

    Args:
        metrics: of the region in one case.
        protocol: by which it was scored. Where its penalty is the diagonal of the image, one of the two regions is
            empty: it has no voxel, or none of its lesions was large enough to count.
    """
    if protocol.penalty is not None:
        return metrics["hd95"] == protocol.penalty
    one_is_missing = not metrics["reference_volume"] or not metrics["prediction_volume"]
    all_left_out = not any(metrics.get(name, 1) for name in ("n_tp", "n_fp"))
    return math.isfinite(metrics["hd95"]) and metrics["dice"] == 0 and (one_is_missing or all_left_out)
