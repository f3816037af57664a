"""What tuning can rank settings by: a metric of the regions of the dataset, or of the protocol of a challenge."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset_conversion.label_conventions import nnunet_convention
from nnunet_resunet_ds.base.dataset_json import regions_of
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON
from nnunet_resunet_ds.base.setting_checks import check_choice
from nnunet_resunet_ds.evaluation.label_maps import to_protocol
from nnunet_resunet_ds.evaluation.protocols import (
    DEFAULT,
    PROTOCOLS,
    SMALLER_IS_BETTER,
    TITLES,
    Matching,
    Protocol,
    protocol_named,
)

METRICS = ("dice", "lesion-dice", "hd95", "nsd", "f1")
"""What ``--metric`` can be."""
_WITHOUT_PROTOCOL = ("dice", "lesion-dice")
"""Have a meaning for any regions; of the others, a protocol has the rules."""
F1 = "lesion_f1"
_LEAST_GAIN = {"hd95": 0.01}
"""In mm."""
_LEAST_GAIN_OF_PARTS = 1e-4
"""Of metrics from 0 to 1."""


@dataclass(frozen=True)
class Metric:
    """A metric, and how its numbers are read. The search sees goodness: the metric, with a minus where less is better.

    Args:
        key: its name in `nnunet_resunet_ds.evaluation`, such as ``lesion_dice``.
        protocol: whose rules and regions count; None: those of the dataset, where an empty region scores 1 for an empty
            prediction and 0 for any other.
    """

    key: str
    protocol: Protocol | None = None
    values: tuple[int, ...] = ()
    """Of the protocol, for each label of the dataset from 0."""

    @property
    def sign(self) -> int:
        """Return 1 where more is better, and -1 where less is."""
        return -1 if self.key in SMALLER_IS_BETTER else 1

    @property
    def title(self) -> str:
        """Its name in tables and figures."""
        title = TITLES[self.key]
        return f"{title} by {self.protocol.title}" if self.protocol else title

    @property
    def digits(self) -> int:
        """How many decimals say enough."""
        return 2 if self.sign < 0 else 4

    @property
    def least_gain(self) -> float:
        """A gain that is not larger is noise."""
        return _LEAST_GAIN.get(self.key, _LEAST_GAIN_OF_PARTS)

    def shown(self, goodness: float) -> float:
        """Return the metric itself."""
        return self.sign * goodness + 0.0  # no -0


DICE, LESION_DICE = Metric("dice"), Metric("lesion_dice")


def chosen_metric(name: str, protocol: str | None, dataset_json: Mapping[str, Any], source: Path) -> Metric:
    """Return what ``--metric`` and ``--protocol`` mean for a dataset.

    Args:
        name: one of `METRICS`.
        protocol: one of `PROTOCOLS`; None: Dice and lesion-wise Dice are of the dataset's regions, the others of the
            usual protocol.
        dataset_json: a checked one.
        source: where it comes from, for messages.

    Raises:
        InputError: there is no such metric or protocol, the protocol does not have the metric, or other regions.
    """
    check_choice("--metric", name, METRICS)
    if protocol is None and name in _WITHOUT_PROTOCOL:
        return Metric(name.replace("-", "_"))
    rules = protocol_named(protocol or DEFAULT)
    key, values = _key(name, rules), _values(dataset_json, rules)
    if key is not None and values is not None:
        return Metric(key, rules, values)
    able = [other.name for other in PROTOCOLS.values() if _key(name, other) and _values(dataset_json, other)]
    remedy = f"choose with --protocol from {', '.join(able)}" if able else "no challenge has both; use --metric dice"
    regions = ", ".join(region.name for region in regions_of(dataset_json))
    problem = f"--metric {name}" if key is None else f"{source}: {regions}"
    msg = f"{problem}: {rules.title} does not have {'it' if key is None else 'these labels'}; {remedy}"
    raise InputError(msg)


def _key(name: str, protocol: Protocol) -> str | None:
    """Return what evaluation calls a metric in a protocol; None where the protocol does not have it."""
    if name == "nsd":
        return next((metric for metric in protocol.surface_metrics if metric.startswith("nsd_")), None)
    if name == "f1":
        return None if protocol.matching is Matching.NONE else F1
    key = name.replace("-", "_")
    return key if key in protocol.metrics else None


def _values(dataset_json: Mapping[str, Any], protocol: Protocol) -> tuple[int, ...] | None:
    """Return the value that each label of a dataset, from 0, has in a protocol; None where one has no counterpart."""
    labels = sorted({0, *(int(value) for region in regions_of(dataset_json) for value in region.tissues)})
    values = np.zeros(labels[-1] + 1, np.int64)
    try:
        values[labels] = to_protocol(np.array(labels), nnunet_convention(dataset_json), protocol, Path(DATASET_JSON))
    except InputError:
        return None
    return tuple(values.tolist())
