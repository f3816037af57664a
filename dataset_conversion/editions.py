"""BraTS releases as data: file names, label values, regions, case ids. A release is an entry here, never a branch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import TypeAlias

from nnunet_resunet_ds.base.files import IMAGE_ENDINGS
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

FILE_ENDING = ".nii.gz"
"""Of the nnU-Net dataset."""
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
    folders: Mapping[str, str | None] = field(default_factory=dict)
    """Name of an image folder → that of its label maps, None for a test set; empty: the files of a case lie together,
    in folders of any name."""
    volumes: Mapping[str, int] = field(default_factory=dict)
    """Channel name → its place on the fourth axis, where one 4-D file holds all channels; empty: a file a channel."""
    description: Mapping[str, object] | None = None
    """What the user's file said of a custom edition."""

    @property
    def conventions(self) -> tuple[object, ...]:
        """What two editions must share for a conversion by either to be the same."""
        return (*self.layout, self.tissues, self.regions)

    @property
    def layout(self) -> tuple[object, ...]:
        """What two editions must share to find the same cases."""
        return (tuple(self.image_suffixes.items()), self.segmentation_suffix, tuple(self.folders.items()))

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
) -> Edition:
    return Edition(
        key=f"{year}-{task.lower()}",
        title=f"BraTS {year} {task}",
        image_suffixes=_by_channel("-t1n", "-t1c", "-t2w", "-t2f"),
        segmentation_suffix="-seg",
        tissues=tissues,
        case_id=re.compile(rf"(?P<patient>BraTS-{task}-\d{{5}})-{time_point}"),
        regions=regions,
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
        _since_2023(2023, "MEN", MODERN),
        _since_2023(2023, "MET", MODERN),
        _since_2023(2024, "GLI", MODERN_RC, time_point=r"1\d{2}", regions=REGIONS_WITH_RC),
        _since_2023(2024, "SSA", MODERN),
        _since_2023(2024, "PED", PED_2024, regions=REGIONS_WITH_CC),
        _since_2023(2024, "MET", MODERN),
        # Of 2024 and of 2025, which are alike.
        Edition(
            key="menrt",
            title="BraTS MEN-RT",
            image_suffixes={"T1ce": "_t1c"},
            segmentation_suffix="_gtv",
            tissues=RADIOTHERAPY,
            case_id=re.compile(r"(?P<patient>BraTS-MEN-RT-\d{4})-\d"),
            regions=REGIONS_OF_RADIOTHERAPY,
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
