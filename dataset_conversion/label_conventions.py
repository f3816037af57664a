"""Name what each value of a label map means: the conventions of nnU-Net and of every edition."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataset_conversion.editions import EDITIONS, NNUNET_KEY, NNUNET_SCHEME, Edition, LabelScheme
from dataset_conversion.labels import raw_labels
from nnunet_resunet_ds.base.dataset_json import has_tumour_regions, regions_of
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.regions import GTV, Target, Tissue
from nnunet_resunet_ds.base.run_file import CUSTOM_EDITION, LABEL_REGIONS, LABELS

_RADIOTHERAPY = [{name: [int(value) for value in GTV.tissues]} for name in (GTV.long_name, GTV.name.lower())]
"""Region → its values, by either name."""


_TISSUE_NAMES: Mapping[Tissue, tuple[str, ...]] = {
    Tissue.BACKGROUND: ("background", "bg"),
    Tissue.ED: ("edema", "oedema", "ed", "peritumoraledema", "snfh"),
    Tissue.NCR: ("necrosis", "necroticcore", "ncr", "ncrnet", "netc", "nonenhancingtumor", "nonenhancingtumorcore"),
    Tissue.ET: ("enhancingtumor", "et", "enhancing"),
}
"""What datasets of plain labels call them, in small letters alone."""


@dataclass(frozen=True)
class LabelConvention:
    """What each value of a label map means."""

    key: str
    """What ``--labels``, ``--ref-labels``, ``--pred-labels`` and run.json call it."""
    title: str
    tissues: LabelScheme
    description: Mapping[str, object] | None = None
    """What the user's file said of a custom edition."""
    regions: Mapping[str, Sequence[int]] | None = None
    """The values of each region, by its name: of nnU-Net's values in a dataset without WT, TC and ET. Where BraTS does
    not have these regions, there are no ``tissues``, so that no command takes them for others."""

    @classmethod
    def of(cls, edition: Edition) -> "LabelConvention":
        """Return an edition's."""
        return cls(edition.key, edition.title, edition.tissues, edition.description)

    def to_settings(self) -> dict[str, Any]:
        """Return what run.json says of it."""
        regions = {} if self.regions is None else {LABEL_REGIONS: self.regions}
        return {LABELS: self.key, CUSTOM_EDITION: self.description, **regions}

    def values_of(self, labels: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Return labels of a model, which are nnU-Net's (any shape), in these values."""
        return raw_labels(labels, self.tissues) if self.regions is None else labels.astype(np.uint8, copy=False)


NNUNET_CONVENTION = LabelConvention(NNUNET_KEY, "nnU-Net", NNUNET_SCHEME)
CONVENTIONS: Mapping[str, LabelConvention] = {
    NNUNET_CONVENTION.key: NNUNET_CONVENTION,
    **{key: LabelConvention.of(edition) for key, edition in EDITIONS.items()},
}
"""All that have a name."""


def nnunet_convention(dataset_json: Mapping[str, Any]) -> LabelConvention:
    """Return what nnU-Net's values mean in a dataset.

    Args:
        dataset_json: a checked one.
    """
    if has_tumour_regions(dataset_json):
        return NNUNET_CONVENTION
    return convention_of_regions({region.name: list(region.tissues) for region in regions_of(dataset_json)})


def convention_of_names(labels: Mapping[str, Any]) -> LabelConvention | None:
    """Return the convention whose values have these names, by which nnU-Net's plain labels are told.

    Args:
        labels: name → value, of a dataset.json without regions.

    Returns:
        None where a name is unknown, a tissue is missing, or no convention has these values.
    """
    plain = {name: value for name, value in labels.items() if isinstance(value, int) and name != "ignore"}
    tissues = {value: _tissue_named(name) for name, value in plain.items()}
    if not {Tissue.ED, Tissue.NCR, Tissue.ET} <= set(tissues.values()) or None in tissues.values():
        return None
    fitting = (
        convention
        for convention in CONVENTIONS.values()
        if all(convention.tissues.get(value) == tissue for value, tissue in tissues.items())
    )
    return next(fitting, None)


def _tissue_named(name: str) -> Tissue | None:
    plain = re.sub("[^a-z]", "", name.lower()).replace("tumour", "tumor")
    return next((tissue for tissue, words in _TISSUE_NAMES.items() if plain in words), None)


def convention_of_regions(regions: Mapping[str, Sequence[int]]) -> LabelConvention:
    """Return what nnU-Net's values mean in a dataset without WT, TC and ET."""
    is_radiotherapy = {name: list(values) for name, values in regions.items()} in _RADIOTHERAPY
    tissues = {int(target): target for target in Target} if is_radiotherapy else {}
    return replace(NNUNET_CONVENTION, title=f"nnU-Net ({', '.join(regions)})", tissues=tissues, regions=regions)


def convention_named(key: str) -> LabelConvention:
    """Return one of `CONVENTIONS`.

    Raises:
        InputError: there is none of that name.
    """
    if key not in CONVENTIONS:
        msg = f"label values {key!r} are not known; choose from {', '.join(CONVENTIONS)}"
        raise InputError(msg)
    return CONVENTIONS[key]
