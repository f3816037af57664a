"""Write the ensemble of several folders: one label map a case, by the mean of probabilities or by a vote on labels."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from dataset_conversion.label_conventions import (
    NNUNET_CONVENTION,
    LabelConvention,
    convention_named,
    convention_of_regions,
)
from nnunet_resunet_ds.base.case_notes import MADE_WITH, weights_setting, with_notes_of_case
from nnunet_resunet_ds.base.dataset_json import read_dataset_json, regions_of
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import FILE_ENDING, write_json
from nnunet_resunet_ds.base.images import geometry_difference, write_labels
from nnunet_resunet_ds.base.label_map_folder import check_output_apart, only_run, results_of_all
from nnunet_resunet_ds.base.log import LOG, warn_each
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON
from nnunet_resunet_ds.base.parallel import for_each
from nnunet_resunet_ds.base.regions import (
    REGIONS_OF_RADIOTHERAPY,
    Region,
    Target,
    Tissue,
    begin_with_tumour_regions,
    regions_class_order,
)
from nnunet_resunet_ds.base.run_file import MADE_BY, WITH_PROBABILITIES, RunFile, entries_of, notes_on_unmade
from nnunet_resunet_ds.base.setting_checks import check_choice
from nnunet_resunet_ds.ensembles.fusion import METHODS, Labels, fused_labels
from nnunet_resunet_ds.ensembles.members import Member, find_members, regions_of_members
from postprocessing import postprocess
from postprocessing.config import AVERAGE, PROBABILITIES, RUN_SETTING
from postprocessing.model_config import default_config, nnunet_config
from postprocessing.probabilities import (
    PROBABILITIES_ENDING,
    files_of_probabilities,
    probabilities_on_grid,
    remove_with_properties,
    save_with_properties,
)
from postprocessing.saved_probabilities import check_of_label_map

MEAN = "mean"
"""Of probabilities."""
ENSEMBLE_METHODS = (MEAN, *METHODS)


@dataclass(frozen=True)
class Ensemble:
    """How the label maps of members become one."""

    members: Sequence[Member]
    regions: tuple[Region, ...]
    method: str
    dataset_json: Mapping[str, Any] | None
    """Of the joint probabilities, with regions in nnU-Net's values; None where no member has one."""

    def join(self, case: str) -> tuple[sitk.Image, Labels, NDArray[np.floating] | None]:
        """Return grid, joint labels in nnU-Net's values, and joint probabilities (R, Z, Y, X) where these are joined.

        Raises:
            InputError: a file is damaged, or the members' are of different grids or regions.
        """
        grids, label_maps = zip(*(member.read(case) for member in self.members), strict=True)
        for member, grid in zip(self.members[1:], grids[1:], strict=True):
            difference = geometry_difference(grid, grids[0])
            if difference is not None:
                msg = f"{member.files[case]}: {difference}, as {self.members[0].files[case]} has; it is of another grid"
                raise InputError(msg)
        weights = [member.weight for member in self.members]
        if self.method != MEAN:
            self._check_regions_hold(label_maps, case)
            n_regions = [len(member.regions or self.regions) for member in self.members]
            return grids[0], fused_labels(label_maps, self.regions, METHODS[self.method], weights, n_regions), None
        mean = self._mean_probabilities(case, grids[0], label_maps)
        return grids[0], postprocess(mean, default_config(self.dataset_json).with_preset("none")), mean

    def _check_regions_hold(self, label_maps: Sequence[Labels], case: str) -> None:
        """Refuse a label that is of none of the joint regions: it would become background without a word."""
        known = {0, *(int(value) for region in self.regions for value in region.tissues)}
        for member, labels in zip(self.members, label_maps, strict=True):
            others = sorted(set(np.unique(labels).tolist()) - known)
            if others:
                names = ", ".join(region.name for region in self.regions)
                msg = (
                    f"{member.files[case]}: nnU-Net's label {others[0]} is of none of {names}, which the members share"
                )
                raise InputError(msg)

    def _mean_probabilities(self, case: str, grid: sitk.Image, label_maps: Sequence[Labels]) -> NDArray[np.floating]:
        total: NDArray[np.floating] | None = None
        for member, labels in zip(self.members, label_maps, strict=True):
            file = probabilities_file(member, case)
            own = probabilities_on_grid(file, grid).astype(np.float32)
            if total is not None and own.shape != total.shape:
                msg = f"{file}: has {len(own)} regions, and others have {len(total)}"
                raise InputError(msg)
            check_of_label_map(own, file, labels, member.runs, nnunet_config(self.dataset_json))
            total = own * np.float32(member.weight) if total is None else total + own * np.float32(member.weight)
        assert total is not None
        n = np.float32(sum(member.weight for member in self.members))
        mean: NDArray[np.floating] = np.clip(total / n, 0, 1)  # rounding may leave this range
        return mean


def probabilities_file(member: Member, case: str) -> Path:
    """Return where nnU-Net and our ``predict`` save the probabilities of a label map."""
    return member.files[case].parent / f"{case}{PROBABILITIES_ENDING}"


def write_ensemble(
    sources: Sequence[Path],
    output: Path,
    *,
    method: str | None = None,
    weights: Sequence[float] | None = None,
    input_labels: Sequence[str] = (),
    labels: str = NNUNET_CONVENTION.key,
    save_probabilities: bool = False,
    overwrite: bool = False,
    executor: Executor | None = None,
) -> tuple[Ensemble, list[Path]]:
    """Join what several folders say of the same cases; a case that fails does not stop the others.

    Args:
        sources: folders of label maps, of any origin and label values; for the mean with probabilities next to them.
        output: for the label maps and ``run.json``.
        method: one of `ENSEMBLE_METHODS`; None is the mean where all have probabilities, else the majority.
        weights: of each source, relative to the others; None is the same for all. STAPLE takes none.
        input_labels: what the label values of the sources mean, see `find_members`.
        labels: what values to write: ``nnunet``, or those of an edition.
        save_probabilities: write the joint ones, too.
        overwrite: label maps of other settings may stay in the output.
        executor: who works; None is a thread for each core.

    Returns:
        How they were joined, and the files written.

    Raises:
        InputError: the sources do not fit each other or the method, or cases failed; then the message has a line a
            case, and the others are written.
    """
    members = find_members(sources, input_labels, weights)
    cases, problems = _common_cases(members)
    ensemble = _ensemble(members, cases, method, has_weights=weights is not None)
    if save_probabilities and ensemble.method != MEAN:
        msg = f"--save-probabilities: {ensemble.method} joins label maps; there are probabilities with --method mean"
        raise InputError(msg)
    check_output_apart(output, sources)
    warn_each(chain.from_iterable(map(notes_on_unmade, sources)))
    convention = _output_convention(labels, ensemble.regions)
    before = entries_of(member.files[case] for member in members for case in cases)
    folders = [str(member.source.resolve()) for member in members]
    run_file = RunFile(output, _settings(ensemble, convention, before), {"member_folders": folders})
    work = partial(
        _write_case, ensemble=ensemble, output=output, convention=convention, save_probabilities=save_probabilities
    )
    settle = partial(_note, run_file, before, members, with_probabilities=save_probabilities)
    stored = [file.name for file in files_of_probabilities(output, "*")]
    with only_run(run_file, cases, stored, problems, overwrite=overwrite):
        if save_probabilities and ensemble.dataset_json is not None:
            write_json(ensemble.dataset_json, output / DATASET_JSON)
        outcomes = for_each(cases, work, "ensemble", executor, settle=settle)
    return ensemble, results_of_all(outcomes, list(problems.values()))


def _ensemble(members: Sequence[Member], cases: Sequence[str], method: str | None, *, has_weights: bool) -> Ensemble:
    if not cases:
        first, second = members[:2]
        msg = (
            f"no case is in all folders: {first.source} has {next(iter(first.files))}, {second.source} has "
            f"{next(iter(second.files))}; the names of the files must be the same"
        )
        raise InputError(msg)
    missing = [file for member in members for case in cases if not (file := probabilities_file(member, case)).is_file()]
    chosen = method or ("majority" if missing else MEAN)
    if method is None and missing:
        LOG.info("label maps are joined by majority, not probabilities by mean: %s is not there", missing[0])
    check_choice("--method", chosen, ENSEMBLE_METHODS)
    if has_weights and chosen == "staple":
        msg = "--weights: STAPLE estimates how good each member is, and takes no weights; use another --method"
        raise InputError(msg)
    regions = regions_of_members(members)
    if chosen != MEAN:
        return Ensemble(members, regions, chosen, None)
    if missing:
        msg = f"{missing[0]}: is not there; predict with --save_probabilities, or join label maps by --method majority"
        raise InputError(msg)
    return Ensemble(members, regions, chosen, _joint_dataset_json(members, regions))


def _joint_dataset_json(members: Sequence[Member], regions: Sequence[Region]) -> Mapping[str, Any] | None:
    """Return what ``dataset.json`` says of the joint probabilities; None where no member has one.

    A model that was trained on the values of an edition has its regions in these.

    Raises:
        InputError: the outputs of a member's model are of other regions, or in another order.
    """
    wanted = [sorted(map(int, region.tissues)) for region in regions]
    joint: Mapping[str, Any] | None = None
    of_regions = {region.long_name: values for region, values in zip(regions, wanted, strict=True)}
    for member in members:
        dataset_json = read_dataset_json(member.folder)
        if dataset_json is None:
            continue
        own = [region.tissues for region in regions_of(dataset_json)]
        if [sorted(map(int, values)) for values in own] == wanted:
            joint = dataset_json
        elif [sorted(int(member.convention.tissues.get(value, -1)) for value in values) for values in own] != wanted:
            msg = (
                f"{member.folder / DATASET_JSON}: has other regions than the members are joined in "
                f"({', '.join(region.name for region in regions)}), or another order; join label maps by --method "
                "majority"
            )
            raise InputError(msg)
        joint = joint or {
            "labels": {"background": 0, **of_regions},
            "regions_class_order": list(regions_class_order(regions)),
        }
    return joint


def _common_cases(members: Sequence[Member]) -> tuple[list[str], dict[str, str]]:
    """Return the cases that all members have, and of each other case why it cannot be made."""
    everything = sorted({case for member in members for case in member.files})
    lacking = {case: [member for member in members if case not in member.files] for case in everything}
    places = {case: ", ".join(str(member.source) for member in those) for case, those in lacking.items() if those}
    problems = {
        case: f"{case}: is not in {place}; put it there, or out of the others" for case, place in places.items()
    }
    return [case for case, those in lacking.items() if not those], problems


def _output_convention(labels: str, regions: Sequence[Region]) -> LabelConvention:
    """Return what the values that are written mean.

    Raises:
        InputError: there is no such edition, or it labels other things than these regions.
    """
    are_tissues = begin_with_tumour_regions(regions, regions_class_order(regions))
    if labels == NNUNET_CONVENTION.key:
        named = {region.long_name: list(map(int, region.tissues)) for region in regions}
        return NNUNET_CONVENTION if are_tissues else convention_of_regions(named)
    convention = convention_named(labels)
    kind: type[int] | None = Tissue if are_tissues else Target if regions == REGIONS_OF_RADIOTHERAPY else None
    values = {int(tissue) for tissue in convention.tissues.values() if type(tissue) is kind}
    if not set(regions_class_order(regions)) <= values:
        names = ", ".join(region.name for region in regions)
        msg = f"--labels {labels}: {convention.title} does not label all of {names}; choose another edition, or nnunet"
        raise InputError(msg)
    return convention


def _settings(
    ensemble: Ensemble, convention: LabelConvention, before: Mapping[Path, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what decides what is in the label maps; ``before`` is what is noted of those of the members."""
    members = [
        {
            **_what_made(member, before),
            "labels": member.convention.key,
            "weight": member.weight,
        }
        for member in ensemble.members
    ]
    return {
        MADE_BY: "resunet-ds ensemble",
        "method": ensemble.method,
        AVERAGE: PROBABILITIES,
        "members": members,
        **weights_setting(before.values()),
        **convention.to_settings(),
    }


def _what_made(member: Member, before: Mapping[Path, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what tells a member from others: if run.json notes all weights, the last command and its settings there.

    Else it is the folder; where the weights are known, new cases of the same may lie in another one.
    """
    if member.runs is None or not all(before.get(file, {}).get(MADE_WITH) for file in member.files.values()):
        return {"folder": str(member.source.resolve())}
    return {key: member.runs.last[key] for key in (MADE_BY, RUN_SETTING) if key in member.runs.last}


def _write_case(
    case: str, ensemble: Ensemble, output: Path, convention: LabelConvention, *, save_probabilities: bool
) -> Path:
    """Write one case, the label map last."""
    grid, labels, probabilities = ensemble.join(case)
    if save_probabilities and probabilities is not None:
        save_with_properties(output, case, probabilities, grid)
    else:
        remove_with_properties(output, case)
    written = output / f"{case}{FILE_ENDING}"
    write_labels(convention.values_of(labels), grid, written)
    return written


def _note(
    run_file: RunFile,
    before: Mapping[Path, Mapping[str, Any]],
    members: Sequence[Member],
    case: str,
    outcome: Path | InputError,
    *,
    with_probabilities: bool,
) -> None:
    """Write the result of a case to run.json, with the notes on it of the members' run.json."""
    if isinstance(outcome, InputError):
        run_file.note_failure(case, str(outcome))
    else:
        of_members = [before[file] for member in members if (file := member.files[case]) in before]
        entry = {WITH_PROBABILITIES: with_probabilities, **with_notes_of_case(of_members)}
        run_file.note(case, outcome.name, entry)
