"""BraTS releases as data: file names, label values, case ids. A release is an entry here, never a branch elsewhere."""

import re
from collections.abc import Mapping

from dataset_conversion.edition import CHANNEL_NAMES, CLASSIC, MODERN, MODERN_RC, MSD, PED_2024, Edition, LabelScheme
from nnunet_resunet_ds.base.regions import REGIONS, REGIONS_WITH_CC, REGIONS_WITH_RC, Region


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
