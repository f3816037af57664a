"""Regions that have a threshold and nothing else: those after WT, TC and ET, or all of a model without these three."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.regions import CC, GTV, RC, Region, Tissue
from nnunet_resunet_ds.base.setting_checks import check_number, check_whole_number

MAX_LABEL = 255
"""Of a uint8 label map."""
_SHORT_NAMES = {word: region.name for region in (RC, CC, GTV) for word in (region.long_name, region.name.lower())}


@dataclass(frozen=True, kw_only=True)
class FurtherRegion:
    """A region with an output of its own, such as the resection cavity of BraTS 2024 or the target of MEN-RT."""

    name: str
    label: int
    """Painted over what is there, where the probability reaches the threshold, or as nnU-Net has it, exceeds it."""
    threshold: float = 0.5

    @property
    def setting(self) -> str:
        """Name of its threshold, as that of WT is called ``wt``."""
        return f"threshold of {self.name}"


RESECTION_CAVITY = FurtherRegion(name=RC.name, label=int(Tissue.FURTHER))


def further_regions(regions: Sequence[Region], class_order: Sequence[int]) -> tuple[FurtherRegion, ...]:
    """Return regions of a dataset with nnU-Net's threshold and the labels that nnU-Net paints.

    Args:
        regions: of dataset.json. Where BraTS has a short name for one, it gets that name, such as GTV.
        class_order: the label of each.
    """
    return tuple(
        FurtherRegion(name=_SHORT_NAMES.get(region.name, region.name), label=int(label))
        for region, label in zip(regions, class_order, strict=True)
    )


def check_further_regions(regions: Sequence[FurtherRegion], lowest_label: int) -> None:
    """Check thresholds and labels.

    Args:
        regions: what to check.
        lowest_label: the smallest that they can have.

    Raises:
        InputError: a number is out of range, or two regions have one label.
    """
    for region in regions:
        check_number(f"threshold of {region.name}", region.threshold, at_most=1)
        check_whole_number(f"label of {region.name}", region.label, at_least=lowest_label, at_most=MAX_LABEL)
    labels = [region.label for region in regions]
    if len(set(labels)) != len(labels):
        msg = f"each of the further regions needs a label of its own; got {labels}"
        raise InputError(msg)


def read_further_regions(entries: Any) -> tuple[FurtherRegion, ...]:  # noqa: ANN401 (JSON may hold anything)
    """Build regions from what JSON holds.

    Raises:
        InputError: it is no list of regions.
    """
    msg = f'"further" must be a list of regions like {asdict(RESECTION_CAVITY)}; got {entries!r}'
    try:
        regions = tuple(FurtherRegion(**entry) for entry in entries)
    except TypeError as error:
        raise InputError(msg) from error
    if not all(isinstance(region.name, str) for region in regions):
        raise InputError(msg)
    return regions
