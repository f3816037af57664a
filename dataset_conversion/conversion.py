"""The whole conversion: find the cases, check them all, then write the dataset."""

import shutil
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dataset_conversion.detect import AUTO, detect_edition
from dataset_conversion.editions import Edition
from dataset_conversion.parallel import for_each
from dataset_conversion.records import RECORDS, finished_cases, keep_record, made_from
from dataset_conversion.scan import RawCase, find_cases
from dataset_conversion.validate import cohort_problems, file_problems
from dataset_conversion.write import FOLDERS, case_files, write_case, write_dataset_json, write_manifest
from nnunet_resunet_ds.checks import check_name, check_whole_number
from nnunet_resunet_ds.errors import InputError
from nnunet_resunet_ds.nnunet_folders import NNUNET_FOLDERS, datasets_with_id, nnunet_folder


def convert(
    inputs: Sequence[Path | str],
    dataset_id: int,
    name: str | None = None,
    edition: str = AUTO,
    *,
    copy: bool = False,
    skip_invalid: bool = False,
    n_threads: int | None = None,
) -> Path:
    """Make the nnU-Net raw dataset ``$nnUNet_raw/DatasetXXX_NAME`` from BraTS folders.

    Everything is checked before anything is written, and the dataset folder appears only when it is complete. Stopped
    at any moment and run again, it goes on after the last finished case.

    Args:
        inputs: folders to search for cases; cases of a folder without any segmentation become test cases.
        dataset_id: 1 to 999.
        name: after ``DatasetXXX_``; None is the edition's own name.
        edition: a key of `EDITIONS`, a year, or ``"auto"``: see `detect_edition`.
        copy: copy the images instead of hard-linking them.
        skip_invalid: leave invalid cases out instead of stopping.
        n_threads: cases read and written at a time; None is the number of cores.

    Returns:
        The dataset folder.

    Raises:
        InputError: bad input; the message lists every problem found, and nothing was written.
    """
    folders = [Path(folder) for folder in inputs]
    if not folders:
        msg = "no input folder given"
        raise InputError(msg)
    if n_threads is not None:
        check_whole_number("the number of cases at a time", n_threads, at_least=1)
    chosen = detect_edition(edition, folders)
    dataset = _new_dataset_folder(dataset_id, name or chosen.dataset_name)
    staging = dataset.with_name(f".{dataset.name}.partial")
    cases = find_cases(folders, chosen)
    finished = finished_cases(staging, cases, chosen, copy=copy)
    cases = _valid_cases(cases, chosen, n_threads, known_valid=finished, skip_invalid=skip_invalid)
    entries = _write_all(cases, chosen, staging, finished, n_threads, copy=copy)
    write_dataset_json(staging, chosen, n_training=sum(case.segmentation is not None for case in cases))
    write_manifest(staging, chosen, entries, copy=copy)
    _remove_all_but(staging, cases)
    staging.rename(dataset)
    return dataset


def _new_dataset_folder(dataset_id: int, name: str) -> Path:
    """Return where the dataset will be, or refuse what nnU-Net cannot take or what is there."""
    if not 1 <= dataset_id <= 999:
        msg = f"the dataset ID must be 1 to 999; got {dataset_id}"
        raise InputError(msg)
    check_name("the dataset name", name)
    dataset = nnunet_folder("nnUNet_raw") / f"Dataset{dataset_id:03d}_{name}"
    for variable in NNUNET_FOLDERS:
        # nnU-Net wants one name for an ID in all of its folders
        for existing in datasets_with_id(variable, dataset_id):
            if existing.name != dataset.name or variable == "nnUNet_raw":
                msg = f"{existing}: dataset {dataset_id} is there already; remove it or choose another ID with -d"
                raise InputError(msg)
    return dataset


def _valid_cases(
    cases: Sequence[RawCase],
    edition: Edition,
    n_threads: int | None,
    *,
    known_valid: Container[str],
    skip_invalid: bool,
) -> list[RawCase]:
    problems = cohort_problems(cases, edition)
    unknown = [case for case in cases if case.case_id not in known_valid]
    checked = for_each(unknown, lambda case: file_problems(case, edition), "check", n_threads)
    for case, found in zip(unknown, checked, strict=True):
        if found:
            problems.setdefault(case.case_id, []).extend(found)
    if problems:
        lines = [line for case_id in sorted(problems) for line in problems[case_id]]
        if not skip_invalid:
            raise InputError("\n".join(lines))
        for line in lines:
            tqdm.write(f"skipped: {line}")
    valid = [case for case in cases if case.case_id not in problems]
    if not any(case.segmentation for case in valid):
        sources = ", ".join(sorted({str(case.source) for case in cases}))
        msg = f"{sources}: no valid case with a segmentation, so nothing to train on; give the training folder, too"
        raise InputError(msg)
    return valid


def _write_all(
    cases: Sequence[RawCase],
    edition: Edition,
    staging: Path,
    finished: Mapping[str, Any],
    n_threads: int | None,
    *,
    copy: bool,
) -> dict[str, Any]:
    """Write what is not finished, and return the manifest entries of all cases."""
    for folder in (*FOLDERS, RECORDS):
        (staging / folder).mkdir(parents=True, exist_ok=True)

    def entry_of(case: RawCase) -> Any:  # noqa: ANN401 (JSON)
        if case.case_id in finished:
            return finished[case.case_id]
        origin = made_from(case, edition, copy=copy)
        entry = write_case(case, edition, staging, copy=copy)
        keep_record(staging, case.case_id, origin, entry)
        return entry

    entries = for_each(cases, entry_of, "write", n_threads)
    return {case.case_id: entry for case, entry in zip(cases, entries, strict=True)}


def _remove_all_but(staging: Path, cases: Sequence[RawCase]) -> None:
    """Remove what an earlier run left: cases that are not wanted, or not in this place, half files, the records."""
    wanted = {staging / file for case in cases for file in (*case_files(case)[0], case_files(case)[1]) if file}
    for folder in FOLDERS:
        for file in (staging / folder).iterdir():
            if file not in wanted:
                file.unlink()
    for file in staging.glob(".*.json"):
        file.unlink()
    shutil.rmtree(staging / RECORDS)
