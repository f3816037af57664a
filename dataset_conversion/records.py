"""What is known of each finished case, kept in a dataset in the making so that a stopped conversion goes on."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dataset_conversion.editions import Edition
from dataset_conversion.scan import RawCase
from nnunet_resunet_ds.errors import InputError
from nnunet_resunet_ds.files import read_json, write_json

RECORDS = ".finished"
"""Folder of one JSON file a case, gone once the dataset is complete."""


def made_from(case: RawCase, edition: Edition, *, copy: bool) -> dict[str, Any]:
    """Return what must be the same for a finished case to be taken over; ask before reading the files."""
    files = [*case.images.values(), *([case.segmentation] if case.segmentation else [])]
    stats = {str(file.resolve()): [file.stat().st_size, file.stat().st_mtime_ns] for file in files}
    return {"edition": edition.key, "copy": copy, "files": stats}


def keep_record(staging: Path, case_id: str, origin: dict[str, Any], entry: dict[str, Any]) -> None:
    """Note that all files of a case are written.

    Args:
        staging: the dataset in the making.
        case_id: of the case.
        origin: what `made_from` returned before the files were read.
        entry: what the manifest will hold of the case.
    """
    write_json({"made_from": origin, "entry": entry}, _file(staging, case_id))


def finished_cases(staging: Path, cases: Iterable[RawCase], edition: Edition, *, copy: bool) -> dict[str, Any]:
    """Return the manifest entries of cases that were finished earlier, from the same files in the same way."""
    finished = {}
    for case in cases:
        try:
            record = read_json(_file(staging, case.case_id))
            if record["made_from"] == made_from(case, edition, copy=copy):
                finished[case.case_id] = record["entry"]
        except (InputError, OSError, LookupError, TypeError):
            continue  # no record, a damaged one, or source files that are gone: not finished
    return finished


def _file(staging: Path, case_id: str) -> Path:
    return staging / RECORDS / f"{case_id}.json"
