"""BraTS releases as data: file names, label values, regions, case ids. A release is an entry here, never a branch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import TypeAlias

from nnunet_resunet_ds.base.files import FILE_ENDING, IMAGE_ENDINGS
from nnunet_resunet_ds.base.regions import (
    REGIONS,
    REGIONS_OF_RADIOTHERAPY,
    REGIONS_WITH_CC,
    REGIONS_WITH_RC,
    Region,
    Target,
    Tissue,
)

LabelScheme: TypeAlias = Mapping[int, IntEnum]
"""Raw label value → `Tissue`, or `Target` where an edition labels no tissues; one to one."""

CLASSIC: LabelScheme = {0: Tissue.BACKGROUND, 1: Tissue.NCR, 2: Tissue.ED, 4: Tissue.ET}
"""Until 2022."""
MODERN: LabelScheme = {0: Tissue.BACKGROUND, 1: Tissue.NCR, 2: Tissue.ED, 3: Tissue.ET}
MODERN_RC: LabelScheme = {**MODERN, 4: Tissue.FURTHER}
PED_2024: LabelScheme = {0: Tissue.BACKGROUND, 1: Tissue.ET, 2: Tissue.NCR, 3: Tissue.FURTHER, 4: Tissue.ED}
"""1, 3 and 4 changed their meanings between PED 2023 and PED 2024."""
MSD: LabelScheme = {0: Tissue.BACKGROUND, 1: Tissue.ED, 2: Tissue.NCR, 3: Tissue.ET}
"""The values of BraTS 2023, with 1 and 2 exchanged."""
RADIOTHERAPY: LabelScheme = {0: Target.BACKGROUND, 1: Target.GTV}
NNUNET_SCHEME: LabelScheme = {int(tissue): tissue for tissue in Tissue}
NNUNET_KEY = "nnunet"
"""What options call file names and label values of nnU-Net itself, as they call an edition by its key."""

CHANNEL_NAMES = ("T1", "T1ce", "T2", "FLAIR")
"""Input channels in nnU-Net's BraTS order; nnU-Net chooses the normalisation by name, z-score for these."""

SEGMENTATION = "segmentation"
"""The role of the label map, as the channels are the roles of the images."""

RAW_ENDINGS = IMAGE_ENDINGS
"""Of raw files; some copies of the releases are unpacked."""


@dataclass(frozen=True, kw_only=True)
class Edition:
    """How one release names and labels its cases."""

    key: str
    """What ``--edition`` takes."""
    title: str
    image_suffixes: Mapping[str, str]
    """Channel name → what stands between case id and file ending."""
    segmentation_suffix: str
    tissues: LabelScheme
    case_id: re.Pattern[str]
    """What a whole case id looks like; the time points of a patient share the group ``patient``, where there is one."""
    regions: tuple[Region, ...] = REGIONS
    """What to train on, in the order of the network's outputs."""
    odd_segmentations: Mapping[str, str] = field(default_factory=dict)
    """Case id → file name without ending, where copies of the release break its own rule."""
    alternatives: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Role → further suffixes in the order of preference; each is taken where a case has no file of those before it."""
    corrections: re.Pattern[str] | None = None
    """What folders of corrected files are called; these files are taken instead of those that they correct."""
    not_guaranteed: tuple[str, ...] = ()
    """Channels that some cases of the release lack."""
    contains: tuple[str, ...] = ()
    """Keys of earlier editions whose cases this one holds as well; cases of one of them alone are read as that one."""
    years: tuple[str, ...] = ()
    """Years of the releases that are alike, where the key has none: what ``--edition YEAR`` may mean."""
    release_folder: re.Pattern[str] | None = None
    """What a folder of the release is called; this decides where the case ids fit editions that differ."""
    submission_suffix: str = ""
    """What stands between case id and file ending of a label map that is handed in."""
    folders: Mapping[str, str | None] = field(default_factory=dict)
    """Name of an image folder → that of its label maps, None for a test set; empty: the files of a case lie together,
    in folders of any name."""
    bare_names: bool = False
    """Whether a file may be called by its suffix alone, such as ``t1.nii.gz``: its folder then has the case id. None
    of several suffixes is preferred."""
    volumes: Mapping[str, int] = field(default_factory=dict)
    """Channel name → its place on the fourth axis, where one 4-D file holds all channels; empty: a file a channel."""
    description: Mapping[str, object] | None = None
    """What the user's file said of a custom edition."""

    @property
    def conventions(self) -> tuple[object, ...]:
        """What two editions must share for a conversion by either to be the same."""
        return (*self.layout, self.corrections, self.tissues, self.regions)

    @property
    def layout(self) -> tuple[object, ...]:
        """What two editions must share to find the same cases."""
        named = (self.image_suffixes, self.alternatives, self.folders)
        return (self.segmentation_suffix, *(tuple(mapping.items()) for mapping in named))

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of its image channels, in the order of the nnU-Net dataset."""
        return tuple(self.image_suffixes)

    @property
    def dataset_name(self) -> str:
        """The default name of the nnU-Net dataset, after ``DatasetXXX_``."""
        return re.sub(r"[^A-Za-z0-9_-]", "", self.title) or self.key

    @cached_property
    def suffixes(self) -> dict[str, str]:
        """Suffix of every role: the channels and `SEGMENTATION`."""
        return {**self.image_suffixes, SEGMENTATION: self.segmentation_suffix}

    def suffixes_of(self, role: str) -> tuple[str, ...]:
        """Return all suffixes of a role, the preferred ones first."""
        return (self.suffixes[role], *self.alternatives.get(role, ()))

    def file_name(self, case_id: str, role: str) -> str:
        """Return the release's own name of a channel's image or the segmentation."""
        return f"{case_id}{self.suffixes[role]}{FILE_ENDING}"

    def tissue_name(self, tissue: IntEnum) -> str:
        """Return ED, NCR, ET or GTV, or the name of the edition's further tissue, such as RC."""
        if tissue is not Tissue.FURTHER:
            return tissue.name
        return next(region.name for region in self.regions if region.tissues == (tissue,))

    def patient(self, case_id: str) -> str | None:
        """Return what the time points of a patient share; None where the case id does not tell it in this edition."""
        match = self.case_id.fullmatch(case_id)
        return match["patient"] if match and "patient" in match.re.groupindex else None


def _by_channel(*suffixes: str) -> dict[str, str]:
    return dict(zip(CHANNEL_NAMES, suffixes, strict=True))


_MEN_CORRECTIONS = re.compile(r"(?i)BraTS-MEN-TRAIN-FIX.*")
_MET_CORRECTIONS = re.compile(r"(?i).*-(?:fixed-cases|corrected-labels).*")


def _until_2021(year: int, case_id: str, odd_segmentations: Mapping[str, str] | None = None) -> Edition:
    return Edition(
        key=f"{year}",
        title=f"BraTS {year}",
        image_suffixes=_by_channel("_t1", "_t1ce", "_t2", "_flair"),
        segmentation_suffix="_seg",
        tissues=CLASSIC,
        case_id=re.compile(case_id),
        odd_segmentations=odd_segmentations or {},
    )


def _since_2023(
    year: int,
    task: str,
    tissues: LabelScheme,
    *,
    time_point: str = r"\d{3}",
    regions: tuple[Region, ...] = REGIONS,
    corrections: re.Pattern[str] | None = None,
    not_guaranteed: tuple[str, ...] = (),
    contains: tuple[str, ...] = (),
) -> Edition:
    return Edition(
        key=f"{year}-{task.lower()}",
        title=f"BraTS {year} {task}",
        image_suffixes=_by_channel("-t1n", "-t1c", "-t2w", "-t2f"),
        segmentation_suffix="-seg",
        tissues=tissues,
        case_id=re.compile(rf"(?P<patient>BraTS-{task}-\d{{5}})-{time_point}"),
        regions=regions,
        corrections=corrections,
        not_guaranteed=not_guaranteed,
        contains=contains,
        release_folder=re.compile(rf"(?i)(?=.*{task})(?:.*-)?BraTS(?:-{task}s?)?(?:20)?{year % 100}(?:\D.*)?"),
    )


def _ped_since_2024(year: int) -> Edition:
    return _since_2023(year, "PED", PED_2024, regions=REGIONS_WITH_CC)


def _met_until_2024(year: int) -> Edition:
    return _since_2023(year, "MET", MODERN, corrections=_MET_CORRECTIONS)


def _met_since_2025(year: int) -> Edition:
    return _since_2023(
        year,
        "MET",
        MODERN_RC,
        regions=REGIONS_WITH_RC,
        corrections=_MET_CORRECTIONS,
        not_guaranteed=("T2",),
    )


EDITIONS: Mapping[str, Edition] = {
    edition.key: edition
    for edition in (
        _until_2021(2017, r"(?P<patient>Brats17_\w+)_\d+"),
        _until_2021(2018, r"(?P<patient>Brats18_\w+)_\d+"),
        _until_2021(2019, r"(?P<patient>BraTS19_\w+)_\d+"),
        _until_2021(
            2020,
            r"(?P<patient>BraTS20_(?:Training|Validation)_\d{3})",
            odd_segmentations={"BraTS20_Training_355": "W39_1998.09.19_Segm"},
        ),
        _until_2021(2021, r"(?P<patient>BraTS2021_\d{5})"),
        # Pre-operative GLI has time points from 000, post-treatment GLI from 100.
        _since_2023(2023, "GLI", MODERN, time_point=r"0\d{2}"),
        _since_2023(2023, "SSA", MODERN),
        _since_2023(2023, "PED", MODERN),
        _since_2023(2023, "MEN", MODERN, corrections=_MEN_CORRECTIONS),
        _met_until_2024(2023),
        _since_2023(2024, "GLI", MODERN_RC, time_point=r"1\d{2}", regions=REGIONS_WITH_RC),
        _since_2023(2024, "SSA", MODERN),
        _ped_since_2024(2024),
        _met_until_2024(2024),
        _since_2023(
            2025,
            "GLI",
            MODERN_RC,
            time_point=r"[01]\d{2}",
            regions=REGIONS_WITH_RC,
            contains=("2023-gli", "2024-gli"),
        ),
        _since_2023(2025, "SSA", MODERN),
        _ped_since_2024(2025),
        _since_2023(2025, "MEN", MODERN, corrections=_MEN_CORRECTIONS),
        _met_since_2025(2025),
        _ped_since_2024(2026),
        _met_since_2025(2026),
        Edition(
            key="goat",
            title="BraTS GoAT",
            image_suffixes=_by_channel("-t1n", "-t1c", "-t2w", "-t2f"),
            segmentation_suffix="-seg",
            tissues=MODERN,
            case_id=re.compile(r"(?P<patient>BraTS-GoAT-\d{5})"),
            years=("2024", "2025", "2026"),
        ),
        Edition(
            key="menrt",
            title="BraTS MEN-RT",
            image_suffixes={"T1ce": "_t1c"},
            segmentation_suffix="_gtv",
            tissues=RADIOTHERAPY,
            case_id=re.compile(r"(?P<patient>BraTS-MEN-RT-\d{4})-\d"),
            regions=REGIONS_OF_RADIOTHERAPY,
            years=("2024", "2025"),
            submission_suffix="_gtv",
        ),
        Edition(
            key="upenn-gbm",
            title="UPENN-GBM",
            image_suffixes=_by_channel("_T1", "_T1GD", "_T2", "_FLAIR"),
            segmentation_suffix="_segm",  # by an expert
            alternatives={SEGMENTATION: ("_automated_approx_segm",)},
            tissues=CLASSIC,
            case_id=re.compile(r"(?P<patient>UPENN-GBM-\d{5})_\d{2}"),  # _11 before the operation, _21 after it
        ),
        Edition(
            key="ucsf-pdgm",
            title="UCSF-PDGM",
            image_suffixes=_by_channel("_T1", "_T1c", "_T2", "_FLAIR"),
            segmentation_suffix="_tumor_segmentation",
            alternatives={"T1ce": ("_T1gad",)},
            tissues=CLASSIC,
            case_id=re.compile(r"(?P<patient>UCSF-PDGM-\d{3,4})(?:_FU\d+d)?"),
        ),
        Edition(
            key="brats-tcga",
            title="BraTS-TCGA",
            image_suffixes=_by_channel("_t1", "_t1Gd", "_t2", "_flair"),
            segmentation_suffix="_GlistrBoost_ManuallyCorrected",
            alternatives={SEGMENTATION: ("_GlistrBoost",)},
            tissues=CLASSIC,
            case_id=re.compile(r"(?P<patient>TCGA-\w{2}-\w{4})_\d{4}\.\d{2}\.\d{2}"),
        ),
        Edition(
            key="msd",
            title="MSD Task01",
            image_suffixes=_by_channel("", "", "", ""),
            segmentation_suffix="",
            tissues=MSD,
            case_id=re.compile(r"(?P<patient>BRATS_\d{3})"),
            folders={"imagesTr": "labelsTr", "imagesTs": None},
            volumes={"FLAIR": 0, "T1": 1, "T1ce": 2, "T2": 3},
        ),
    )
}
