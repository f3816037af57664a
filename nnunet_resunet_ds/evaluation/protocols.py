"""Describe how each BraTS challenge scores: regions, lesion-wise constants, penalties. A protocol is data, never code.

The constants are those of the official scripts (BraTS-2023-Metrics, BraTS-2024-Metrics); plain bugs in them are
left out, see `docs/evaluation.md`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from dataset_conversion.editions import CLASSIC, MODERN, MODERN_RC, PED_2024, LabelScheme
from nnunet_resunet_ds.base.errors import InputError

METRICS = ("dice", "hd95", "sensitivity", "specificity")
LESION_METRICS = ("lesion_dice", "lesion_hd95", "n_tp", "n_fp", "n_fn")
VOLUMES = ("reference_volume", "prediction_volume")
"""In mm³, of all labelled voxels."""

TITLES = {
    "dice": "Dice",
    "hd95": "HD95 (mm)",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "lesion_dice": "Lesion-wise Dice",
    "lesion_hd95": "Lesion-wise HD95 (mm)",
}
"""Metric → its name in tables and figures."""

DEFAULT = "brats2023-gli"


class PredictionFilter(Enum):
    """The unit in which small predicted lesions are compared with `RegionRule.min_size`, to leave them out."""

    NONE = "none"
    """No lesion is left out, and predicted components that lie close together stay apart (2023)."""
    VOXELS = "voxels"
    MM3 = "mm3"


@dataclass(frozen=True)
class RegionRule:
    """One region of a protocol."""

    labels: tuple[int, ...]
    """The labels that the region consists of, in the protocol's values."""
    dilations: int = 0
    """Steps by 18 neighbours: lesions whose dilations meet are one, and a prediction inside the dilation matches."""
    min_size: float = 0.0
    """Reference lesions of at most so many mm³ do not count; see `PredictionFilter` for predicted ones."""
    joined_by: tuple[str, ...] = ()
    """Lesions of this region that touch the same lesion of one of these regions become one."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The rules by which one challenge scores a label map."""

    name: str
    title: str
    labels: LabelScheme
    """Label value → tissue; in tasks other than glioma the corresponding tissue."""
    regions: Mapping[str, RegionRule]
    penalty: float | None
    """HD95 in mm where there is one surface only, and for each missed or false lesion; None: the diagonal of the image
    in voxels."""
    is_lesion_wise: bool = True
    prediction_filter: PredictionFilter = PredictionFilter.NONE
    false_lesions_count: bool = True
    """Whether false lesions are in the lesion-wise means."""
    unscored: Mapping[str, RegionRule] = field(default_factory=dict)
    """Regions that join others (`RegionRule.joined_by`) and have no scores of their own."""

    @property
    def rules(self) -> dict[str, RegionRule]:
        """The rules of all regions, including those without scores."""
        return {**self.unscored, **self.regions}

    @property
    def ranked_by(self) -> tuple[str, str]:
        """The metrics that the challenge ranks by: Dice and HD95, lesion-wise since 2023."""
        return ("lesion_dice", "lesion_hd95") if self.is_lesion_wise else ("dice", "hd95")

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics that are computed for each region."""
        return (*METRICS, *LESION_METRICS, *VOLUMES) if self.is_lesion_wise else (*METRICS, *VOLUMES)


_FLAT_PENALTY = 374.0
"""The diagonal of 240 × 240 × 155 voxels, rounded up."""
_GLI_2024_PENALTY = 337.0
"""The diagonal of 182 × 218 × 182 voxels."""
_GLIOMA: Mapping[str, tuple[int, ...]] = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}


def _glioma(dilations: int, min_size: float) -> dict[str, RegionRule]:
    return {name: RegionRule(labels, dilations, min_size) for name, labels in _GLIOMA.items()}


def _glioma_2024(dilations: int, min_size: float) -> dict[str, RegionRule]:
    rules = _glioma(dilations, min_size)
    return {**rules, "ET": replace(rules["ET"], joined_by=("NETC",))}


_GLI_2024 = {
    "WT": RegionRule((1, 2, 3), 3, 20),
    "TC": RegionRule((1, 3), 3, 20),
    "NETC": RegionRule((1,), 5, 20, ("ET", "RC")),
    "SNFH": RegionRule((2,), 3, 20, ("ET", "RC", "NETC")),
    "ET": RegionRule((3,), 3, 10, ("NETC", "RC")),
    "RC": RegionRule((4,), 5, 20, ("ET", "NETC")),
}
_PED_2024 = {
    "WT": RegionRule((1, 2, 3, 4), 5, 10),
    "TC": RegionRule((1, 2, 3), 5, 10),
    "ET": RegionRule((1,), 5, 10),
    "NETC": RegionRule((2,), 5, 10),
    "CC": RegionRule((3,), 5, 10),
    "ED": RegionRule((4,), 5, 10),
}
_MET_2024 = _glioma_2024(1, 2)
_MET_NETC = {"NETC": RegionRule((1,), 1, 2)}
_SSA_NETC = {"NETC": RegionRule((1,), 3, 50)}


def _of_2023(task: str, dilations: int, min_size: float) -> Protocol:
    return Protocol(
        name=f"brats2023-{task.lower()}",
        title=f"BraTS 2023 {task}",
        labels=MODERN,
        regions=_glioma(dilations, min_size),
        penalty=_FLAT_PENALTY,
    )


def _since_2024(
    year: int,
    task: str,
    regions: Mapping[str, RegionRule],
    *,
    labels: LabelScheme = MODERN,
    penalty: float | None = _FLAT_PENALTY,
    prediction_filter: PredictionFilter = PredictionFilter.VOXELS,
    false_lesions_count: bool = True,
    unscored: Mapping[str, RegionRule] | None = None,
) -> Protocol:
    return Protocol(
        name=f"brats{year}-{task.lower().replace('-', '')}",
        title=f"BraTS {year} {task}",
        labels=labels,
        regions=regions,
        penalty=penalty,
        prediction_filter=prediction_filter,
        false_lesions_count=false_lesions_count,
        unscored=unscored or {},
    )


def _of_both_years(year: int) -> tuple[Protocol, ...]:
    return (
        _since_2024(year, "GLI", _GLI_2024, labels=MODERN_RC, penalty=_GLI_2024_PENALTY),
        _since_2024(year, "SSA", _glioma_2024(3, 50), unscored=_SSA_NETC),
        _since_2024(year, "PED", _PED_2024, labels=PED_2024),
        _since_2024(
            year,
            "MEN-RT",
            {"GTV": RegionRule((1,), 1, 50)},
            labels={},
            penalty=None,
            prediction_filter=PredictionFilter.MM3,
            false_lesions_count=False,
        ),
    )


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="brats2021",
            title="BraTS 2021",
            labels=CLASSIC,
            regions={"WT": RegionRule((1, 2, 4)), "TC": RegionRule((1, 4)), "ET": RegionRule((4,))},
            penalty=None,
            is_lesion_wise=False,
        ),
        _of_2023("GLI", 3, 50),
        _of_2023("SSA", 3, 50),
        _of_2023("PED", 3, 50),
        _of_2023("MEN", 1, 50),
        _of_2023("MET", 1, 2),
        *_of_both_years(2024),
        _since_2024(2024, "MET", _MET_2024, unscored=_MET_NETC),
        *_of_both_years(2025),
        _since_2024(
            2025,
            "MET",
            {**_MET_2024, "RC": RegionRule((4,), 1, 2)},
            labels=MODERN_RC,
            penalty=None,
            unscored=_MET_NETC,
        ),
        replace(_of_2023("MEN", 1, 50), name="brats2025-men", title="BraTS 2025 MEN"),
    )
}


def protocol_named(name: str) -> Protocol:
    """Return one of `PROTOCOLS`.

    Raises:
        InputError: there is none of that name.
    """
    if name not in PROTOCOLS:
        msg = f"protocol {name!r} is not known; choose from {', '.join(PROTOCOLS)}"
        raise InputError(msg)
    return PROTOCOLS[name]
