"""Every number of the post-processing in one object that goes to and from ``postprocessing.json``."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.checks import check_entries, check_number, check_whole_number
from nnunet_resunet_ds.errors import InputError
from nnunet_resunet_ds.files import read_json, write_json
from nnunet_resunet_ds.regions import RC, Tissue

MAX_LABEL = 255
"""Of a uint8 label map."""
CONNECTIVITIES = (6, 18, 26)
"""Voxels that share a face, also an edge, also a corner."""


@dataclass(frozen=True, kw_only=True)
class FurtherRegion:
    """A region beside the tumour with an output of its own, such as the resection cavity of BraTS 2024."""

    name: str
    label: int
    """Painted where the probability reaches the threshold, over what is there."""
    threshold: float = 0.5


RESECTION_CAVITY = FurtherRegion(name=RC.name, label=int(Tissue.FURTHER))


@dataclass(frozen=True, kw_only=True)
class PostprocessingConfig:
    """Thresholds (paper section 5, decision D9) and enhancing-tumour rules (D10). The defaults are the paper's.

    Raises:
        InputError: a value is of the wrong type or out of range.
    """

    wt: float = 0.45
    """Below this probability of whole tumour a voxel is background."""
    tc: float = 0.40
    """Below this probability of tumour core, the rest of whole tumour is ED."""
    et: float = 0.45
    """Below this probability of enhancing tumour, the rest of tumour core is NCR."""
    further: tuple[FurtherRegion, ...] = (RESECTION_CAVITY,)
    """Outputs after WT, TC and ET, in their order; painted in this order, the last one wins."""
    et_component_voxels: int = 16
    """An ET component smaller than this is doubtful."""
    et_component_probability: float = 0.9
    """A doubtful ET component with a mean ET probability below this becomes NCR."""
    et_total_voxels: int = 73
    """If all ET together is smaller than this, all of it is doubtful."""
    et_total_probability: float = 0.9
    """Doubtful total ET with a mean ET probability below this becomes NCR."""
    connectivity: int = 6
    """Of ET components."""

    def __post_init__(self) -> None:
        for name in ("wt", "tc", "et", "et_component_probability", "et_total_probability"):
            check_number(name, getattr(self, name), at_most=1)
        for name in ("et_component_voxels", "et_total_voxels"):
            check_whole_number(name, getattr(self, name), at_least=0)
        labels = [region.label for region in self.further]
        if len(set(labels)) != len(labels):
            msg = f"each of the further regions needs a label of its own; got {labels}"
            raise InputError(msg)
        for region in self.further:
            check_number(f"threshold of {region.name}", region.threshold, at_most=1)
            check_whole_number(f"label of {region.name}", region.label, at_least=int(Tissue.ET) + 1, at_most=MAX_LABEL)
        if self.connectivity not in CONNECTIVITIES:
            msg = f"connectivity must be one of {CONNECTIVITIES}; got {self.connectivity!r}"
            raise InputError(msg)

    @classmethod
    def paper(cls) -> "PostprocessingConfig":
        """Return the paper's numbers."""
        return cls()

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "PostprocessingConfig":
        """Build from what JSON holds; what is left out has the paper's value.

        Raises:
            InputError: an entry is unknown or out of range.
        """
        check_entries("unknown post-processing settings", mapping, [field.name for field in fields(cls)])
        values = dict(mapping)
        if "further" in values:
            values["further"] = _further_regions(values["further"])
        return cls(**values)

    @classmethod
    def from_json(cls, path: Path) -> "PostprocessingConfig":
        """Read ``postprocessing.json``.

        Raises:
            InputError: the file is missing, is not JSON, or holds bad settings.
        """
        content = read_json(path)
        if not isinstance(content, Mapping):
            msg = f"{path}: expected an object of settings, found {type(content).__name__}"
            raise InputError(msg)
        try:
            return cls.from_mapping(content)
        except InputError as error:
            msg = f"{path}: {error}"
            raise InputError(msg) from error

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def to_json(self, path: Path) -> None:
        """Write ``postprocessing.json``."""
        write_json(self.to_mapping(), path)


def _further_regions(entries: Any) -> tuple[FurtherRegion, ...]:  # noqa: ANN401 (JSON may hold anything)
    try:
        return tuple(FurtherRegion(**entry) for entry in entries)
    except TypeError as error:
        msg = f'"further" must be a list of regions like {asdict(RESECTION_CAVITY)}; got {entries!r}'
        raise InputError(msg) from error
