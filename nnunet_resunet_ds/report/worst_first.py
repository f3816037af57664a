"""Put the cases that are to be looked at first in front."""

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from nnunet_resunet_ds.evaluation.case_metrics import Metrics
from nnunet_resunet_ds.evaluation.protocols import Protocol
from nnunet_resunet_ds.report.remarks import Certainty
from nnunet_resunet_ds.uncertainty.region_certainty import ENTROPY_INSIDE, EXPECTED


def worst_first(
    names: Sequence[str],
    scores: Mapping[str, Metrics],
    protocol: Protocol,
    certainties: Mapping[str, Certainty] = MappingProxyType({}),
) -> list[str]:
    """Sort cases by their mean Dice over regions, lesion-wise where there is; those without a score come last.

    These are sorted by the Dice to expect, and where that is not known, by the entropy in their regions.

    Args:
        names: of the cases.
        scores: of those with a reference.
        protocol: says what they are ranked by.
        certainties: what ``predict`` noted.
    """
    metric = protocol.ranked_by[0]

    def place(name: str) -> tuple[float, float, float, str]:
        certainty = certainties.get(name, {}).values()
        return (
            _mean(region[metric] for region in scores.get(name, {}).values()),
            _mean(region[EXPECTED] for region in certainty if EXPECTED in region),
            -_mean((region[ENTROPY_INSIDE] for region in certainty if ENTROPY_INSIDE in region), none=0),
            name,
        )

    return sorted(names, key=place)


def _mean(values: Iterable[float], none: float = math.inf) -> float:
    """Return the mean of what is a number; where nothing is, that of none."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else none
