"""What is known of each finished case, kept in a dataset in the making so that a stopped conversion goes on."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dataset_conversion.manifest import is_unchanged
from dataset_conversion.scan import RawCase
from dataset_conversion.write import is_written
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json, write_json

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
