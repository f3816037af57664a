"""Describe a BraTS release, or data like it: file names, label values, regions, case ids."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from nnunet_resunet_ds.base.files import IMAGE_ENDINGS
from nnunet_resunet_ds.base.regions import REGIONS, Region, Tissue

LabelScheme: TypeAlias = Mapping[int, Tissue]
"""Raw label value → tissue, one to one."""

CLASSIC: LabelScheme = {0: Tissue.BACKGROUND, 1: Tissue.NCR, 2: Tissue.ED, 4: Tissue.ET}
"""Until 2022."""
MODERN: LabelScheme = {0: Tissue.BACKGROUND, 1: Tissue.NCR, 2: Tissue.ED, 3: Tissue.ET}
MODERN_RC: LabelScheme = {**MODERN, 4: Tissue.FURTHER}
PED_2024: LabelScheme = {0: Tissue.BACKGROUND, 1: Tissue.ET, 2: Tissue.NCR, 3: Tissue.FURTHER, 4: Tissue.ED}
"""The meanings of 1, 3 and 4 turned round between PED 2023 and PED 2024."""
MSD: LabelScheme = {0: Tissue.BACKGROUND, 1: Tissue.ED, 2: Tissue.NCR, 3: Tissue.ET}
"""The values of BraTS 2023, with 1 and 2 exchanged."""
NNUNET: LabelScheme = {int(tissue): tissue for tissue in Tissue}


CHANNEL_NAMES = ("T1", "T1ce", "T2", "FLAIR")
"""Input channels in nnU-Net's BraTS order; nnU-Net chooses the normalisation by name, z-score for these."""

SEGMENTATION = "segmentation"
"""The role of the label map, beside the channels."""

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

    def tissue_name(self, tissue: Tissue) -> str:
        """Return ED, NCR, ET, or what the edition has beside these, such as RC."""
        if tissue is not Tissue.FURTHER:
            return tissue.name
        return next(region.name for region in self.regions if region.tissues == (tissue,))

    def patient(self, case_id: str) -> str | None:
        """Return what the time points of a patient share; None where the case id does not tell it in this edition."""
        match = self.case_id.fullmatch(case_id)
        return match["patient"] if match and "patient" in match.re.groupindex else None
