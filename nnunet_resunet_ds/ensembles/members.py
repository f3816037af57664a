"""Find what each member of an ensemble has: its label maps, what their values mean, and which regions they are of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from dataset_conversion.editions import EDITIONS
from dataset_conversion.label_conventions import LabelConvention
from dataset_conversion.labels import listed, nnunet_labels
from nnunet_resunet_ds.base.counted import counted
from nnunet_resunet_ds.base.dataset_json import read_dataset_json, regions_of
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.images import read_labels
from nnunet_resunet_ds.base.regions import (
    REGIONS_OF_RADIOTHERAPY,
    REGIONS_WITH_RC,
    Region,
    Target,
    begin_with_tumour_regions,
    regions_class_order,
)
from nnunet_resunet_ds.base.run_file import Runs, read_runs
from nnunet_resunet_ds.base.setting_checks import check_number
from nnunet_resunet_ds.ensembles.fusion import Labels
from nnunet_resunet_ds.evaluation.label_maps import PROTOCOL_LABELS, find_label_maps


@dataclass(frozen=True)
class Member:
    """A folder of label maps that takes part in an ensemble."""

    source: Path
    files: Mapping[str, Path]
    """Case → label map."""
    convention: LabelConvention
    """What its values mean."""
    reason: str
    """Why that is known, for the user."""
    weight: float

    @property
    def described(self) -> str:
        """Say how its values are read."""
        n_maps = counted(len(self.files), "label map")
        return f"{self.source}: {n_maps} with the values of {self.convention.title}, {self.reason}"

    def read(self, case: str) -> tuple[sitk.Image, Labels]:
        """Read the label map of a case in nnU-Net's values, with its grid.

        Raises:
            InputError: it is damaged, or has values that its convention does not have.
        """
        file = self.files[case]
        grid, values = read_labels(file)
        known = self.known_values
        unknown = sorted(set(np.unique(values).tolist()) - known)
        if unknown:
            msg = (
                f"{file}: label values {listed(unknown)} are not among {self.convention.title}'s "
                f"{listed(sorted(known))}; say what they are with --input-labels"
            )
            raise InputError(msg)
        if self.convention.regions is not None:
            return grid, values.astype(np.uint8)
        return grid, nnunet_labels(values, self.convention.tissues)

    @property
    def folder(self) -> Path:
        """Of its first label map; probabilities and dataset.json lie there, where there are any."""
        return next(iter(self.files.values())).parent

    @cached_property
    def runs(self) -> Runs | None:
        """What ``run.json`` there says; None where there is none."""
        return read_runs(self.folder)

    @property
    def known_values(self) -> set[int]:
        """The values that its label maps may have."""
        if self.convention.regions is None:
            return set(self.convention.tissues)
        return {0, *(value for values in self.convention.regions.values() for value in values)}

    @cached_property
    def regions(self) -> tuple[Region, ...] | None:
        """The regions that its values are of; None where nothing says more than that they are tissues."""
        convention = self.convention
        if set(map(type, convention.tissues.values())) == {Target}:
            return REGIONS_OF_RADIOTHERAPY
        if convention.regions is not None:
            return tuple(Region(name, name, tuple(values)) for name, values in convention.regions.items())
        if convention.key in EDITIONS:
            return EDITIONS[convention.key].regions
        dataset_json = read_dataset_json(self.folder)
        return None if dataset_json is None else regions_of(dataset_json)


def find_members(
    sources: Sequence[Path], input_labels: Sequence[str] = (), weights: Sequence[float] | None = None
) -> list[Member]:
    """Find the label maps of each source.

    Args:
        sources: folders, two or more.
        input_labels: what their values mean, one for all of them or one each; empty: as is declared next to them.
        weights: one each; None is 1 each.

    Raises:
        InputError: there are fewer than two, a number of names or weights that does not fit, a weight that is none, or
            nothing says what the values of a source are.
    """
    if len(set(map(Path.resolve, sources))) < max(2, len(sources)):
        msg = "an ensemble needs two folders or more, each given once"
        raise InputError(msg)
    named = list(input_labels) * len(sources) if len(input_labels) == 1 else list(input_labels)
    _check_one_each(named, sources, "--input-labels")
    labels: Sequence[str | None] = named or [None] * len(sources)
    chosen = [1.0] * len(sources) if weights is None else list(weights)
    _check_one_each(chosen, sources, "--weights")
    for weight in chosen:
        check_number("each of --weights", weight)
    if not any(chosen):
        msg = "--weights are all 0; give at least one folder a weight above 0"
        raise InputError(msg)
    return [_member(source, told, weight) for source, told, weight in zip(sources, labels, chosen, strict=True)]


def _check_one_each(values: Sequence[object], sources: Sequence[Path], flag: str) -> None:
    if values and len(values) != len(sources):
        msg = f"{flag} has {len(values)} values for {len(sources)} folders; give one for each folder, in their order"
        raise InputError(msg)


def _member(source: Path, labels: str | None, weight: float) -> Member:
    if labels == PROTOCOL_LABELS:
        msg = "--input-labels protocol is for evaluate; name nnunet or an edition"
        raise InputError(msg)
    try:
        found = find_label_maps(source, labels)
    except InputError as error:
        raise InputError(str(error).replace("--ref-labels or --pred-labels", "--input-labels")) from error
    if found.convention is None:
        msg = f"{source}: nothing says what the values of its label maps are; say it with --input-labels"
        raise InputError(msg)
    return Member(source, found.files, found.convention, found.reason, weight)


def regions_of_members(members: Sequence[Member]) -> tuple[Region, ...]:
    """Return the regions that all members are joined in, in the order of painting: those of the member with most.

    Where nothing says more of any member than that its values are tissues, these are WT, TC, ET, and RC outside them.

    Raises:
        InputError: members are of regions that do not fit together.
    """
    told = [member.regions for member in members if member.regions is not None]
    joint = max(told or [REGIONS_WITH_RC], key=len)
    are_tissues = begin_with_tumour_regions(joint, regions_class_order(joint))
    if not all(_begin_alike(regions, joint) for regions in told) or (len(told) < len(members) and not are_tissues):
        listed_regions = "; ".join(
            f"{member.source}: {', '.join(region.name for region in member.regions or REGIONS_WITH_RC)}"
            for member in members
        )
        msg = f"these label different things, and cannot be joined: {listed_regions}"
        raise InputError(msg)
    return joint


def _begin_alike(regions: Sequence[Region], longer: Sequence[Region]) -> bool:
    """Tell whether these are the first of others, whatever their long names."""
    one, other = ([(region.name, sorted(region.tissues)) for region in those] for those in (regions, longer))
    return one == other[: len(one)]
