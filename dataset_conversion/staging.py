"""Make the dataset in a hidden folder, for one process at a time, that takes its place when it is complete."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dataset_conversion.manifest import MANIFEST, is_unchanged
from dataset_conversion.scan import RawCase
from dataset_conversion.write import FOLDERS, image_names, is_written, label_name
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import link_or_copy, read_json, write_json
from nnunet_resunet_ds.base.locks import only_writer
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON

RECORDS = ".finished"
"""Folder of one JSON file a case, gone once the dataset is complete."""


def keep_record(staging: Path, case_id: str, made: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
    """Note that all files of a case are written.

    Args:
        staging: the dataset in the making.
        case_id: of the case.
        made: what `made_with` returned.
        entry: what the manifest will hold of the case.
    """
    write_json({"made_with": made, "entry": entry}, _file(staging, case_id))


def finished_cases(staging: Path, cases: Iterable[RawCase], made: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest entries of cases that were finished earlier, from the same files, and are all there."""
    finished = {}
    for case in cases:
        try:
            record = read_json(_file(staging, case.case_id))
            entry = record["entry"]
            if record["made_with"] == made and is_unchanged(entry, case) and is_written(case, staging, entry):
                finished[case.case_id] = entry
        except (InputError, OSError, LookupError, TypeError, AttributeError):
            continue  # no record, or a damaged one: not finished
    return finished


def _file(staging: Path, case_id: str) -> Path:
    return staging / RECORDS / f"{case_id}.json"


_OURS = (*FOLDERS, MANIFEST, DATASET_JSON)


@contextmanager
def staging_folder(dataset: Path) -> Iterator[Path]:
    """Yield the folder in which a dataset is made; it stays after a failure if any case in it is finished.

    Raises:
        InputError: another process is making the same dataset.
    """
    staging = dataset.with_name(partial_name(dataset.name))
    staging.mkdir(parents=True, exist_ok=True)
    with only_writer(staging, dataset):
        for folder in (*FOLDERS, RECORDS):
            (staging / folder).mkdir(exist_ok=True)
        _finish_swap(dataset)
        try:
            yield staging
        finally:
            if staging.exists() and not any((staging / RECORDS).glob("*")):
                shutil.rmtree(staging)


def partial_name(name: str) -> str:
    """Return the name of the folder in which the dataset of a name is made."""
    return f".{name}.partial"


def carry_over(files: Iterable[Path], dataset: Path, staging: Path) -> None:
    """Bring files of the dataset as it is, given relative to it, into the one in the making."""
    for file in files:
        source, destination = dataset / file, staging / file
        destination.unlink(missing_ok=True)
        if source.is_symlink():
            destination.symlink_to(source.readlink())
        else:
            link_or_copy(source, destination)


def publish(staging: Path, dataset: Path, files: Iterable[Path]) -> bool:
    """Let the finished dataset take its place; what else lay in an earlier one, such as a split, stays there.

    Args:
        staging: the dataset in the making, with its JSON files.
        dataset: where it belongs.
        files: of its images and label maps, relative to the folder; all others are leftovers and removed.

    Returns:
        Whether there was an earlier one.
    """
    wanted = {staging / file for file in files}
    for folder in FOLDERS:
        for file in (staging / folder).iterdir():
            if file not in wanted:
                file.unlink()
    for file in staging.glob(".*.json"):  # half-written
        file.unlink()
    replaces = dataset.exists()
    if replaces:
        dataset.rename(_replaced(dataset))
    staging.rename(dataset)
    _finish_swap(dataset)
    return replaces


def foreign_files(dataset: Path, cases: Iterable[str]) -> list[Path]:
    """Return what lies in the folders of images and label maps, and is of none of these cases."""
    known = {name for case_id in cases for name in (label_name(case_id), *image_names(case_id))}
    folders = [dataset / name for name in FOLDERS if (dataset / name).is_dir()]
    return [file for folder in folders for file in sorted(folder.iterdir()) if file.name not in known]


def _replaced(dataset: Path) -> Path:
    return dataset.with_name(f".{dataset.name}.replaced")


def _finish_swap(dataset: Path) -> None:
    """Complete the exchange of an old dataset for a new one, or take it back where the new one is not there."""
    shutil.rmtree(dataset / RECORDS, ignore_errors=True)  # it came along with the new one
    old = _replaced(dataset)
    if not old.exists():
        return
    if not dataset.exists():
        old.rename(dataset)
        return
    for entry in old.iterdir():
        if entry.name not in _OURS and not (dataset / entry.name).exists():
            entry.rename(dataset / entry.name)
    shutil.rmtree(old)
