"""``conversion.json``: what a dataset was made from, and how."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset_conversion.custom import custom_edition
from dataset_conversion.edition import Edition
from dataset_conversion.editions import EDITIONS
from dataset_conversion.scan import RawCase
from dataset_conversion.write import LinkMode
from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import is_same, read_json, write_json
from nnunet_resunet_ds.base.setting_checks import check_path_part

MANIFEST = "conversion.json"
_CASES = "cases"


def made_with(edition: Edition, link_mode: LinkMode, *, validate: bool) -> dict[str, Any]:
    """Return what the manifest says of the whole dataset: a case made otherwise must be made again."""
    return {
        "version": __version__,
        "edition": edition.key,
        "custom_edition": edition.description,
        "images": link_mode,
        "validated": validate,
    }


def dataset_identity(cases: Mapping[str, Mapping[str, Any]], made: Mapping[str, Any]) -> str:
    """Return what tells the training cases of a dataset from others: a digest of what they were made from.

    Args:
        cases: case id → what `write_case` returned.
        made: what `made_with` returned.
    """
    sources = {
        case_id: [*(entry["images"][channel]["sha256"] for channel in sorted(entry["images"])), segmentation["sha256"]]
        for case_id, entry in sorted(cases.items())
        if (segmentation := entry["segmentation"])
    }
    content = json.dumps([made["edition"], made["custom_edition"], sources], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def write_manifest(
    dataset: Path, made: Mapping[str, Any], cases: Mapping[str, Any], skipped: Mapping[str, Sequence[str]]
) -> None:
    """Write ``conversion.json``.

    Args:
        dataset: the dataset folder.
        made: what `made_with` returned, and what else is to be said of the whole.
        cases: case id → what `write_case` returned.
        skipped: case id → why it was left out.
    """
    write_json({**made, _CASES: cases, "skipped": skipped}, dataset / MANIFEST)


def read_manifest(dataset: Path) -> dict[str, Any] | None:
    """Return the manifest of a dataset; None where it was not us who made it."""
    try:
        content = read_json(dataset / MANIFEST)
        for case_id in content[_CASES]:
            check_path_part("a case id", case_id)
    except (InputError, OSError, AttributeError, LookupError, TypeError):
        return None
    return content if isinstance(content, dict) and isinstance(content[_CASES], dict) else None


def edition_of(manifest: Mapping[str, Any]) -> Edition | None:
    """Return what a dataset was converted from; None where this version does not know the edition."""
    custom = manifest.get("custom_edition")
    return custom_edition(custom) if custom else EDITIONS.get(str(manifest.get("edition")))


def unchanged_cases(manifest: Mapping[str, Any], cases: Sequence[RawCase], made: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of those cases that were made in the same way from the same files."""
    if any(manifest.get(key) != value for key, value in made.items()):
        return {}
    entries = manifest[_CASES]
    return {case.case_id: entries[case.case_id] for case in cases if is_unchanged(entries.get(case.case_id), case)}


def is_unchanged(entry: Any, case: RawCase) -> bool:  # noqa: ANN401 (JSON)
    """Tell whether an entry was made from the files that the case has now, by path and content."""
    try:
        sources = {**entry["images"], "": entry["segmentation"]}
        files = {**case.images, "": case.segmentation}
        return sources.keys() == files.keys() and all(_same(sources[role], files[role]) for role in files)
    except (OSError, LookupError, TypeError, RuntimeError):
        return False  # a damaged entry, or files that are gone or link in a circle


def _same(source: Mapping[str, Any] | None, file: Path | None) -> bool:
    if source is None or file is None:
        return source is None and file is None
    return str(file.resolve()) == source["file"] and is_same(source, file)
