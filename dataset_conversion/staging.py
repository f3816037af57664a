"""Make the dataset in a hidden folder that takes its place when it is complete, and keep what it was made from.

``conversion.json`` says it of the whole dataset; while the dataset is made, each finished case has a record of its own.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dataset_conversion.custom_edition import custom_edition
from dataset_conversion.editions import CHANNEL_NAMES, EDITIONS, Edition
from dataset_conversion.find_cases import RawCase
from dataset_conversion.write import ABSENT, FOLDERS, LinkMode, image_names, is_written, label_name
from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import is_same, link_or_copy, read_json, write_json
from nnunet_resunet_ds.base.locks import only_writer
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON
from nnunet_resunet_ds.base.setting_checks import check_path_part

MANIFEST = "conversion.json"
RECORDS = ".finished"
"""Folder of one JSON file a case, gone once the dataset is complete."""
_CASES = "cases"
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


def foreign_files(dataset: Path, manifest: Mapping[str, Any]) -> list[Path]:
    """Return what lies in the folders of images and label maps, and is of none of the cases of a manifest."""
    edition = edition_of(manifest)
    n_channels = len(edition.channels if edition else CHANNEL_NAMES)
    known = {name for case_id in manifest[_CASES] for name in (label_name(case_id), *image_names(case_id, n_channels))}
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


def keep_record(staging: Path, case_id: str, made: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
    """Note that all files of a case are written.

    Args:
        staging: the dataset in the making.
        case_id: of the case.
        made: what `made_with` returned.
        entry: what the manifest will hold of the case.
    """
    write_json({"made_with": made, "entry": entry}, _record(staging, case_id))


def finished_cases(
    staging: Path, edition: Edition, cases: Iterable[RawCase], made: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the manifest entries of cases that were finished earlier, from the same files, and are all there."""
    finished = {}
    for case in cases:
        try:
            record = read_json(_record(staging, case.case_id))
            entry = record["entry"]
            if record["made_with"] == made and is_unchanged(entry, case) and is_written(case, edition, staging, entry):
                finished[case.case_id] = entry
        except (InputError, OSError, LookupError, TypeError, AttributeError):
            continue  # no record, or a damaged one: not finished
    return finished


def _record(staging: Path, case_id: str) -> Path:
    return staging / RECORDS / f"{case_id}.json"


def made_with(
    edition: Edition, link_mode: LinkMode, *, validate: bool, allow_missing: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what the manifest says of the whole dataset: a case made otherwise must be made again."""
    return {
        "version": __version__,
        "edition": edition.key,
        "custom_edition": edition.description,
        "images": link_mode,
        "validated": validate,
        "allow_missing": list(allow_missing) or None,  # None as in manifests of versions that did not know it
    }


def dataset_identity(cases: Mapping[str, Mapping[str, Any]], made: Mapping[str, Any]) -> str:
    """Return what tells the training cases of a dataset from others: a digest of what they were made from.

    Args:
        cases: case id → what `write_case` returned.
        made: what `made_with` returned.
    """
    sources = {case_id: _digests(entry) for case_id, entry in sorted(cases.items()) if entry["segmentation"]}
    content = json.dumps([made["edition"], made["custom_edition"], sources], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _digests(entry: Mapping[str, Any]) -> list[str]:
    """Return what a training case was made from: the digests of its images and label map, and the absent channels."""
    images, absent = entry["images"], entry.get(ABSENT, ())
    digests = [images[channel]["sha256"] for channel in sorted(images)]
    return [*digests, entry["segmentation"]["sha256"], *(f"no {channel}" for channel in absent)]


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


def absent_channels(dataset: Path) -> dict[str, tuple[str, ...]]:
    """Return the cases of a dataset that lack channels, with their names; none where it was not us who made it."""
    cases = (read_manifest(dataset) or {_CASES: {}})[_CASES]
    lacking = {case_id: entry.get(ABSENT) for case_id, entry in cases.items() if isinstance(entry, dict)}
    return {case_id: tuple(map(str, names)) for case_id, names in lacking.items() if isinstance(names, list)}


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
    is_whole = isinstance(source["sha256"], str)  # the identity of the dataset is made of these
    return is_whole and str(file.resolve()) == source["file"] and is_same(source, file)
