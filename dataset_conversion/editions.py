"""BraTS releases as data: file names, label values, case ids. A release is an entry here, never a branch elsewhere."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from nnunet_resunet_ds.regions import REGIONS, REGIONS_WITH_CC, REGIONS_WITH_RC, Region, Tissue

CHANNEL_NAMES = ("T1", "T1ce", "T2", "FLAIR")
"""Input channels in nnU-Net's BraTS order; nnU-Net chooses the normalisation by name, z-score for these."""

FILE_ENDING = ".nii.gz"
"""Of the nnU-Net dataset."""
RAW_ENDINGS = (FILE_ENDING, ".nii")
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
    tissues: Mapping[int, Tissue]
    """Raw label value → tissue, one to one."""
    case_id: re.Pattern[str]
    """What a whole case id looks like; the time points of a patient share the group ``patient``."""
    regions: tuple[Region, ...] = REGIONS
    """What to train on, in the order of the network's outputs."""
    odd_segmentations: Mapping[str, str] = field(default_factory=dict)
    """Case id → file name, where copies of the release break its own rule."""

    @property
    def conventions(self) -> tuple[object, ...]:
        """What two editions must share for a conversion by either to be the same."""
        return (self.image_suffixes, self.segmentation_suffix, self.tissues, self.regions)

    @property
    def dataset_name(self) -> str:
        """The default name of the nnU-Net dataset, after ``DatasetXXX_``."""
        return self.title.replace(" ", "")

    def patient(self, case_id: str) -> str:
        """Return what the time points of a patient share; the case id itself where it is not of this edition."""
        match = self.case_id.fullmatch(case_id)
        return match["patient"] if match else case_id


def _by_channel(*suffixes: str) -> dict[str, str]:
    return dict(zip(CHANNEL_NAMES, suffixes, strict=True))


_CLASSIC = {0: Tissue.BACKGROUND, 1: Tissue.NCR, 2: Tissue.ED, 4: Tissue.ET}
_MODERN = {0: Tissue.BACKGROUND, 1: Tissue.NCR, 2: Tissue.ED, 3: Tissue.ET}
_MODERN_RC = {**_MODERN, 4: Tissue.FURTHER}
_PED_2024 = {0: Tissue.BACKGROUND, 1: Tissue.ET, 2: Tissue.NCR, 3: Tissue.FURTHER, 4: Tissue.ED}
"""The meanings of 1, 3 and 4 turned round between PED 2023 and PED 2024."""


def _until_2021(year: int, case_id: str, odd_segmentations: Mapping[str, str] | None = None) -> Edition:
    return Edition(
        key=f"{year}",
        title=f"BraTS {year}",
        image_suffixes=_by_channel("_t1", "_t1ce", "_t2", "_flair"),
        segmentation_suffix="_seg",
        tissues=_CLASSIC,
        case_id=re.compile(case_id),
        odd_segmentations=odd_segmentations or {},
    )


def _since_2023(
    year: int,
    task: str,
    tissues: Mapping[int, Tissue],
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
            odd_segmentations={"BraTS20_Training_355": "W39_1998.09.19_Segm.nii"},
        ),
        _until_2021(2021, r"(?P<patient>BraTS2021_\d{5})"),
        # Pre-operative GLI has time points from 000, post-treatment GLI from 100.
        _since_2023(2023, "GLI", _MODERN, time_point=r"0\d{2}"),
        _since_2023(2023, "SSA", _MODERN),
        _since_2023(2023, "PED", _MODERN),
        _since_2023(2023, "MEN", _MODERN),
        _since_2023(2023, "MET", _MODERN),
        _since_2023(2024, "GLI", _MODERN_RC, time_point=r"1\d{2}", regions=REGIONS_WITH_RC),
        _since_2023(2024, "SSA", _MODERN),
        _since_2023(2024, "PED", _PED_2024, regions=REGIONS_WITH_CC),
        _since_2023(2024, "MET", _MODERN),
    )
}
