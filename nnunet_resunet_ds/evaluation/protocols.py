"""Describe how each BraTS challenge scores: regions, lesion-wise constants, penalties. A protocol is data, never code.

The constants are those of the official scripts (BraTS-2023-Metrics, BraTS-2024-Metrics) and of the package
BraTS-evaluation (2026); plain bugs in them are left out, see `docs/reference/protocols.md`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from dataset_conversion.editions import CLASSIC, MODERN, MODERN_RC, PED_2024, RADIOTHERAPY, LabelScheme
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.evaluation.dice import BRATS, BRATS_2026, EmptyRegions

COUNTS = ("n_tp", "n_fp", "n_fn")
"""Lesions that are found, false ones, and missed ones."""
SIZE_METRICS = ("lesion_dice", "lesion_hd95", "lesion_nsd", "small_n_tp", "small_n_fn", "small_f1")
"""Of a protocol with a `SizeRule`: the first three are those of large lesions."""
VOLUMES = ("reference_volume", "prediction_volume")
"""In mm³, of all labelled voxels."""

TITLES = {
    "dice": "Dice",
    "hd95": "HD95 (mm)",
    "nsd_0.5": "NSD at 0.5 mm",
    "nsd_1.0": "NSD at 1 mm",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "lesion_dice": "Lesion-wise Dice",
    "lesion_hd95": "Lesion-wise HD95 (mm)",
    "lesion_nsd": "Lesion-wise NSD",
    "lesion_nsd_0.5": "Lesion-wise NSD, 0.5 mm",
    "lesion_nsd_1.0": "Lesion-wise NSD, 1 mm",
    "lesion_f1": "Lesion-wise F1",
    "lesion_f1_area": "Area under F1",
    "small_f1": "F1, small lesions",
}
"""Metric → its name in tables and figures."""

SMALLER_IS_BETTER = ("hd95", "lesion_hd95")

DEFAULT = "brats2023-gli"


class Matching(Enum):
    """How predicted lesions find the reference lesions with which they are compared."""

    NONE = "none"
    """Lesions are not told apart (2021)."""
    NEAR = "near"
    """A reference lesion is compared with all predicted lesions that come into its reach (2023 to 2025)."""
    ONE_TO_ONE = "one to one"
    """Each lesion is in one pair at most, and the sum of the pairs' Dice is the largest possible (2026)."""


class SurfaceKind(Enum):
    """What the surface of a region is, for HD95."""

    FACETS = "facets"
    """Weighted by their area, the larger of both directions: DeepMind's surface-distance (2023 to 2025)."""
    VOXELS = "voxels"
    """All alike, both directions pooled: MedPy and panoptica (2026)."""


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


@dataclass(frozen=True)
class SizeRule:
    """How lesions are scored by their size (MET 2026): large ones by their outline, small ones by being found."""

    large_from: float
    """Reference lesions of at least so many mm³ are large."""
    found_from: float
    """A small lesion is found where the Dice with its counterpart is at least this."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The rules by which one challenge scores a label map."""

    name: str
    title: str
    labels: LabelScheme
    """Label value → tissue or target; in tasks other than glioma the corresponding tissue."""
    regions: Mapping[str, RegionRule]
    penalty: float | None
    """HD95 in mm where there is one surface only, and for each missed or false lesion; None: the diagonal of the image
    in voxels."""
    matching: Matching = Matching.NEAR
    surface: SurfaceKind = SurfaceKind.FACETS
    nsd_tolerances: tuple[float, ...] = ()
    """In mm, each of a normalised surface Dice."""
    needs_overlap: bool = False
    """Whether two regions without a common voxel get the penalty, and NSD 0, however close they are."""
    size_rule: SizeRule | None = None
    prediction_filter: PredictionFilter = PredictionFilter.NONE
    false_lesions_count: bool = True
    """Whether false lesions are in the lesion-wise means."""
    unscored: Mapping[str, RegionRule] = field(default_factory=dict)
    """Regions that join others (`RegionRule.joined_by`) and have no scores of their own."""
    empty_regions: EmptyRegions = BRATS
    """What the challenge gives where a region is empty."""
    ranked_by: tuple[str, ...] = ("lesion_dice", "lesion_hd95")
    """The metrics by which systems are ranked, the most telling first."""

    @property
    def rules(self) -> dict[str, RegionRule]:
        """The rules of all regions, including those without scores."""
        return {**self.unscored, **self.regions}

    @property
    def surface_metrics(self) -> tuple[str, ...]:
        """The names of the metrics that compare surfaces."""
        return ("hd95", *(f"nsd_{tolerance}" for tolerance in self.nsd_tolerances))

    @property
    def lesion_metrics(self) -> tuple[str, ...]:
        """The names of the metrics that compare lesion by lesion."""
        if self.matching is Matching.NONE:
            return ()
        if self.matching is Matching.NEAR:
            return ("lesion_dice", *(f"lesion_{name}" for name in self.surface_metrics), *COUNTS)
        detection = (*COUNTS, "lesion_f1", "lesion_f1_area")
        return (*detection, *SIZE_METRICS) if self.size_rule else detection

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics that are computed for each region."""
        return ("dice", *self.surface_metrics, "sensitivity", "specificity", *self.lesion_metrics, *VOLUMES)


_FLAT_PENALTY = 374.0
"""The diagonal of 240 × 240 × 155 voxels, rounded up."""
_GLI_2024_PENALTY = 337.0
"""The diagonal of 182 × 218 × 182 voxels."""
_PENALTY_2026 = 373.0
"""The diagonal of 240 × 240 × 155 voxels, rounded down."""
_NSD_2025 = (0.5, 1.0)
_NSD_2026 = (0.5,)
"""The package asks for half a voxel, and has images of 1 mm in mind."""
_GLIOMA: Mapping[str, tuple[int, ...]] = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}


_WHOLE_AND_FOUND = ("dice", "nsd_0.5", "lesion_f1")
"""The regions as wholes, and whether their lesions are found; by what else the challenge ranks is not published."""


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
        nsd_tolerances=_NSD_2025 if year == 2025 else (),
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
            labels=RADIOTHERAPY,
            penalty=None,
            prediction_filter=PredictionFilter.MM3,
            false_lesions_count=False,
        ),
    )


def _of_2026(
    task: str,
    labels: LabelScheme,
    regions: Mapping[str, tuple[int, ...]],
    ranked_by: tuple[str, ...],
    size_rule: SizeRule | None = None,
) -> Protocol:
    return Protocol(
        name=f"brats2026-{task.lower()}",
        title=f"BraTS 2026 {task}",
        labels=labels,
        regions={name: RegionRule(values) for name, values in regions.items()},
        penalty=_PENALTY_2026,
        matching=Matching.ONE_TO_ONE,
        surface=SurfaceKind.VOXELS,
        nsd_tolerances=_NSD_2026,
        needs_overlap=True,
        size_rule=size_rule,
        empty_regions=BRATS_2026,
        ranked_by=ranked_by,
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
            matching=Matching.NONE,
            ranked_by=("dice", "hd95"),
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
        replace(_of_2023("MEN", 1, 50), name="brats2025-men", title="BraTS 2025 MEN", nsd_tolerances=_NSD_2025),
        _of_2026(
            "MET",
            MODERN_RC,
            {**_GLIOMA, "RC": (4,)},
            ("lesion_dice", "lesion_nsd", "small_f1"),
            SizeRule(large_from=27.0, found_from=0.2),
        ),
        _of_2026(
            "PED",
            PED_2024,
            {name: rule.labels for name, rule in _PED_2024.items()},
            _WHOLE_AND_FOUND,
        ),
        _of_2026("GoAT", MODERN, _GLIOMA, _WHOLE_AND_FOUND),
    )
}


def protocol_named(name: str) -> Protocol:
    """Return one of `PROTOCOLS`.

    Raises:
        InputError: there is none of that name.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    near = near_protocols(name)
    choice = (
        f"near it: {', '.join(near)}; see resunet-ds evaluate --help" if near else f"choose from {', '.join(PROTOCOLS)}"
    )
    msg = f"protocol {name!r} is not known; {choice}"
    raise InputError(msg)


def near_protocols(name: str) -> list[str]:
    """Return the protocols that a year, a task, an edition or a title such as ``BraTS 2021`` means.

    Args:
        name: upper and lower case are the same; ``2024`` means all of that year, ``met`` all of that task.
    """
    wanted = name.lower().replace(" ", "-").replace("_", "-").removeprefix("brats").strip("-").replace("-rt", "rt")
    parts = {protocol: protocol.removeprefix("brats") for protocol in PROTOCOLS}
    return [
        protocol
        for protocol, part in parts.items()
        if wanted and (part == wanted or part.startswith(f"{wanted}-") or part.endswith(f"-{wanted}"))
    ]
