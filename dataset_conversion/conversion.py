"""Convert a cohort: find the cases, check them all, then write the dataset."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dataset_conversion.cohort import Cohort, CohortReport, correction_lines, find_cohort, inspect_cohort
from dataset_conversion.detect_edition import AUTO
from dataset_conversion.editions import Edition
from dataset_conversion.find_cases import RawCase
from dataset_conversion.inspect_case import CaseReport
from dataset_conversion.staging import (
    carry_over,
    dataset_identity,
    edition_of,
    finished_cases,
    foreign_files,
    keep_record,
    made_with,
    partial_name,
    publish,
    read_manifest,
    staging_folder,
    unchanged_cases,
    write_manifest,
)
from dataset_conversion.write import (
    LABELS_TRAINING,
    LinkMode,
    case_files,
    check_link_mode,
    is_written,
    write_case,
    write_dataset_json,
)
from nnunet_resunet_ds.base.counted import counted
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import FILE_ENDING, visible_files
from nnunet_resunet_ds.base.log import LOG, warn_each
from nnunet_resunet_ds.base.nnunet_folders import (
    DATASET_JSON,
    NNUNET_FOLDERS,
    data_of_other_plans,
    datasets_with_id,
    nnunet_folder,
    preprocess_again_command,
    preprocess_command,
)
from nnunet_resunet_ds.base.parallel import for_each
from nnunet_resunet_ds.base.setting_checks import check_name, check_whole_number
from nnunet_resunet_ds.base.splits_file import split_notes

MAX_DATASET_ID = 999


@dataclass(frozen=True)
class Options:
    """How to convert."""

    link_mode: LinkMode
    validate: bool
    skip_invalid: bool
    overwrite: bool
    executor: Executor | None


def convert(
    inputs: Sequence[Path | str],
    dataset_id: int,
    name: str | None = None,
    edition: str = AUTO,
    *,
    edition_file: Path | None = None,
    allow_missing: Collection[str] = (),
    link_mode: LinkMode = "hardlink",
    validate: bool = True,
    skip_invalid: bool = False,
    overwrite: bool = False,
    executor: Executor | None = None,
) -> Path:
    """Make the nnU-Net raw dataset ``$nnUNet_raw/DatasetXXX_NAME`` from BraTS folders.

    Everything is checked before anything is written, and the dataset folder appears only when it is complete. Stopped
    at any moment and run again, it goes on after the last finished case. Where the dataset is there and was made by
    this function, it is brought up to date.

    Args:
        inputs: folders to search for cases; cases of a folder without any segmentation become test cases.
        dataset_id: 1 to 999.
        name: after ``DatasetXXX_``; None is the name of the dataset that this function made with this ID before, else
            that of the edition.
        edition: a key of `EDITIONS`, a year, ``"auto"`` or ``"custom"``: see `detect_edition`.
        edition_file: the description of a custom edition.
        allow_missing: sequences that a case may lack, such as ``("T2",)``: an image of zeros is written for them.
        link_mode: hard-link, symlink or copy the images; those that must be repaired are rewritten in any case.
        validate: open every image before writing; label maps are checked in any case.
        skip_invalid: leave invalid cases out instead of stopping.
        overwrite: replace a dataset of this name that something else has made.
        executor: who reads and writes cases; None is a thread for each core.

    Returns:
        The dataset folder.

    Raises:
        InputError: bad input; the message lists every problem found, and no dataset was made or changed.
    """
    check_link_mode(link_mode)
    cohort = find_cohort(inputs, edition, edition_file, allow_missing)
    dataset = _dataset_folder(dataset_id, name or _name_so_far(dataset_id) or cohort.decision.edition.dataset_name)
    n_cases, decision = counted(len(cohort.cases), "case"), cohort.decision
    LOG.info("%s, read as %s: %s", n_cases, decision.edition.title, decision.reason)
    for line in correction_lines(cohort.cases, decision.edition):
        LOG.info("%s", line)
    with staging_folder(dataset) as staging:
        if not overwrite:
            _check_replaceable(dataset, cohort.cases)
        if link_mode == "hardlink" and cohort.cases[0].folder.stat().st_dev != staging.stat().st_dev:
            LOG.warning("%s is on another file system, so images are copied; --symlink saves the space", dataset.parent)
        replaced = _make(dataset, staging, cohort, Options(link_mode, validate, skip_invalid, overwrite, executor))
    _note_leftovers(dataset, dataset_id, replaced=replaced)
    return dataset


def _make(dataset: Path, staging: Path, cohort: Cohort, options: Options) -> bool:
    """Make what is missing of a dataset, and let it take its place; tell whether an earlier one had to give way."""
    edition = cohort.decision.edition
    made = made_with(edition, options.link_mode, validate=options.validate, allow_missing=cohort.allow_missing)
    manifest = read_manifest(dataset) if (dataset / DATASET_JSON).is_file() else None
    unchanged = _unchanged(dataset, manifest, cohort, made) if manifest else {}
    finished = {**finished_cases(staging, edition, cohort.cases, made), **unchanged}
    report = inspect_cohort(
        cohort, options.executor, known_valid=finished, open_files=options.validate, keep_labels=True
    )
    _leave_out(report.problems, options, dataset, manifest)
    if manifest and unchanged.keys() == {case.case_id for case in report.valid} == manifest["cases"].keys():
        LOG.info("%s is up to date: its cases were made from these very files", dataset)
        return False
    _check_trainable(report.valid, cohort.cases)
    for case in report.valid:
        if case.case_id in unchanged:
            carry_over(case_files(case, edition).values(), dataset, staging)
    entries, failed = _write_all(report, staging, finished, made, options)
    _leave_out(failed, options, dataset, manifest)
    cases = [case for case in report.valid if case.case_id in entries]
    _check_trainable(cases, cohort.cases)
    n_training = sum(case.segmentation is not None for case in cases)
    write_dataset_json(staging, edition, n_training, dataset_identity(entries, made))
    about = {
        **made,
        "reason": cohort.decision.reason,
        "inputs": [str(folder.resolve()) for folder in cohort.inputs],
        "skip_invalid": options.skip_invalid,
    }
    write_manifest(staging, about, entries, {**report.problems, **failed})
    return publish(staging, dataset, [file for case in cases for file in case_files(case, edition).values()])


def _name_so_far(dataset_id: int) -> str | None:
    """Return the name of the dataset that was converted with this ID before: more cases may be of another edition."""
    found = [folder for folder in datasets_with_id("nnUNet_raw", dataset_id) if read_manifest(folder) is not None]
    return found[0].name.partition("_")[2] if len(found) == 1 else None


def _dataset_folder(dataset_id: int, name: str) -> Path:
    """Return where the dataset will be, or refuse what nnU-Net cannot take."""
    check_whole_number("the dataset ID", dataset_id, at_least=1, at_most=MAX_DATASET_ID)
    check_name("the dataset name", name)
    dataset = nnunet_folder("nnUNet_raw") / f"Dataset{dataset_id:03d}_{name}"
    for variable in NNUNET_FOLDERS:
        for existing in datasets_with_id(variable, dataset_id):
            if existing.name != dataset.name:  # nnU-Net wants one name for an ID in all of its folders
                there = existing.name.partition("_")[2]
                msg = (
                    f"{existing}: dataset {dataset_id} is there with another name; choose another ID with -d, or add "
                    f"to it with all folders, the earlier ones too, and -n {there}"
                )
                raise InputError(msg)
    return dataset


def _check_replaceable(dataset: Path, cases: Sequence[RawCase]) -> None:
    """Refuse to replace what something else has made, or to lose cases and files that these inputs do not give."""
    if not dataset.exists():
        return
    manifest = read_manifest(dataset)
    if manifest is None:
        msg = f"{dataset}: is there already and was not made by resunet-ds convert; replace it with --overwrite"
        raise InputError(msg)
    lost = sorted(manifest["cases"].keys() - {case.case_id for case in cases})
    if lost:
        msg = (
            f"{dataset}: {len(lost)} of its cases are not in these inputs, for example {lost[0]}; give their folder, "
            "too, or drop them with --overwrite"
        )
        raise InputError(msg)
    foreign = foreign_files(dataset, manifest)
    if foreign:
        msg = f"{foreign[0]}: was not put there by resunet-ds convert; move it away, or drop it with --overwrite"
        raise InputError(msg)


def _warn_of_other_labels(dataset: Path, before: Edition | None, edition: Edition) -> None:
    """Say so where the dataset was made with an edition in which label values mean other tissues."""
    if before is not None and before.tissues != edition.tissues:
        LOG.warning(
            "%s: label values are read otherwise than before (%s; now %s), and its label maps are written again",
            dataset, _meanings(before), _meanings(edition),
        )  # fmt: skip


def _meanings(edition: Edition) -> str:
    return ", ".join(f"{edition.tissue_name(tissue)} {raw}" for raw, tissue in edition.tissues.items() if raw)


def _unchanged(dataset: Path, manifest: Mapping[str, Any], cohort: Cohort, made: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest entries of cases that the dataset, as it is, already has from the same files."""
    edition = cohort.decision.edition
    _warn_of_other_labels(dataset, edition_of(manifest), edition)
    unchanged = unchanged_cases(manifest, cohort.cases, made)
    candidates = [case for case in cohort.cases if case.case_id in unchanged]
    whole = {case.case_id for case in candidates if is_written(case, edition, dataset, unchanged[case.case_id])}
    damaged = sorted(unchanged.keys() - whole)
    if damaged:
        LOG.warning(
            "%s: files of %d cases, such as %s, are not as they were written: these cases are made again",
            dataset, len(damaged), damaged[0],
        )  # fmt: skip
    return {case_id: entry for case_id, entry in unchanged.items() if case_id in whole}


def _leave_out(
    problems: Mapping[str, Sequence[str]], options: Options, dataset: Path, manifest: Mapping[str, Any] | None
) -> None:
    """Stop at invalid cases, or say that they are left out, unless the dataset would lose one of its cases."""
    lines = [line for case_id in sorted(problems) for line in problems[case_id]]
    if lines and not options.skip_invalid:
        raise InputError("\n".join(lines))
    for line in lines:
        LOG.warning("skipped: %s", line)
    if manifest and not options.overwrite:
        _check_none_is_lost(dataset, manifest, problems)


def _check_none_is_lost(dataset: Path, manifest: Mapping[str, Any], problems: Mapping[str, Sequence[str]]) -> None:
    """Refuse to remove a case from the dataset because it is invalid now: the dataset may have its last good copy.

    Raises:
        InputError: naming one.
    """
    lost = sorted(manifest["cases"].keys() & problems.keys())
    if lost:
        msg = (
            f"{dataset}: has {lost[0]}, which is invalid now and would be removed there; bring its files back, correct "
            "what is said of them, or drop it with --overwrite"
        )
        raise InputError(msg)


def _note_leftovers(dataset: Path, dataset_id: int, *, replaced: bool) -> None:
    """Say what was made from the dataset as it was before, and what a conversion under another name has left."""
    if replaced:
        _note_what_was_made(dataset, datasets_with_id("nnUNet_preprocessed", dataset_id))
    for folder in dataset.parent.glob(partial_name(f"Dataset{dataset_id:03d}_*")):
        LOG.warning("%s is left of a conversion that did not finish: run it again, or remove the folder", folder)


def _note_what_was_made(dataset: Path, preprocessed: Sequence[Path]) -> None:
    """Say which splits and preprocessed data are of the dataset as it was before."""
    labels = visible_files(dataset / LABELS_TRAINING, FILE_ENDING)
    cases = {file.name.removesuffix(FILE_ENDING) for file in labels}
    for folder in (dataset, *preprocessed):
        try:
            lines = split_notes(folder, cases)
        except InputError as error:
            lines = [str(error)]
        warn_each(lines)
    for folder in preprocessed:
        LOG.warning("%s is of the earlier cases; make it again: %s", folder, preprocess_command(dataset.name))
        for plans, configuration in data_of_other_plans(folder):
            again = preprocess_again_command(folder, configuration, f"{plans}_{configuration}")
            LOG.warning("and the data of the plans %s, if you train with them: %s", plans, again)


def _check_trainable(cases: Iterable[RawCase], found: Iterable[RawCase]) -> None:
    if not any(case.segmentation for case in cases):
        sources = ", ".join(sorted({str(case.source) for case in found}))
        msg = f"{sources}: no valid case with a segmentation, so nothing to train on; give the training folder, too"
        raise InputError(msg)


def _write_all(
    report: CohortReport, staging: Path, finished: Mapping[str, Any], made: Mapping[str, Any], options: Options
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Write what is not finished; return the manifest entries of the cases there, and why others could not be."""
    cases = [case for case in report.valid if case.case_id not in finished]
    write = partial(
        _write_one,
        edition=report.cohort.decision.edition,
        staging=staging,
        link_mode=options.link_mode,
        made=made,
    )
    items = [(case, report.reports.get(case.case_id)) for case in cases]
    written = for_each(items, write, "write", options.executor, name=lambda item: item[0].case_id)
    outcomes = {**finished, **{case.case_id: outcome for case, outcome in zip(cases, written, strict=True)}}
    failed = {case_id: [str(outcome)] for case_id, outcome in outcomes.items() if isinstance(outcome, InputError)}
    there = [case.case_id for case in report.valid if case.case_id not in failed]
    return {case_id: outcomes[case_id] for case_id in there}, failed


def _write_one(
    item: tuple[RawCase, CaseReport | None],
    edition: Edition,
    staging: Path,
    link_mode: LinkMode,
    made: Mapping[str, Any],
) -> dict[str, Any]:
    """Write a case, and that it is finished; return its manifest entry."""
    case, report = item
    entry = write_case(case, edition, staging, link_mode, report)
    keep_record(staging, case.case_id, made, entry)
    return entry
