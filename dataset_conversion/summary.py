"""What a cohort holds, as a few lines of text: label census and warnings."""

from collections import defaultdict
from collections.abc import Mapping

MAX_CASES_SHOWN = 3
"""Of each kind of warning."""


def census_table(voxels: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Lay out which tissues the labelled cases have.

    Args:
        voxels: case id → tissue → voxels; empty for a case without segmentation.
    """
    labelled = [counts for counts in voxels.values() if counts]
    if not labelled:
        return []
    total = max(sum(sum(counts.values()) for counts in labelled), 1)
    lines = [f"{'tissue':8}{'cases':>7}{'voxels':>13}{'of the tumour':>15}"]
    for tissue in labelled[0]:
        n_voxels = sum(counts[tissue] for counts in labelled)
        n_cases = sum(counts[tissue] > 0 for counts in labelled)
        lines.append(f"{tissue:8}{n_cases:7}{n_voxels:13}{n_voxels / total:15.1%}")
    return lines


def warning_lines(warnings: Mapping[str, list[str]]) -> list[str]:
    """Return a line for each kind of warning, with the number of cases and the first of them.

    Args:
        warnings: case id → ``KIND: detail``.
    """
    cases: dict[str, dict[str, str]] = defaultdict(dict)
    for case_id, found in warnings.items():
        for warning in found:
            kind, _, detail = warning.partition(": ")
            cases[kind].setdefault(case_id, detail)
    return [_line(kind, details) for kind, details in sorted(cases.items())]


def _line(kind: str, details: Mapping[str, str]) -> str:
    shown = ", ".join(f"{case_id} ({detail})" for case_id, detail in list(details.items())[:MAX_CASES_SHOWN])
    return f"warning: {kind}: {len(details)} cases, {shown}{', …' if len(details) > MAX_CASES_SHOWN else ''}"
