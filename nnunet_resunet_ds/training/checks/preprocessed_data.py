"""Check preprocessed data: against the fingerprint that its plans were made from, and against the raw dataset.

Say as well which of it nnU-Net has resampled.
"""

import filecmp
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape

from nnunet_resunet_ds.base.dataset_json import have_other_cases
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import FILE_ENDING, read_json, visible_files
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, nnunet_folder, preprocess_again_command
from nnunet_resunet_ds.base.nnunet_properties import PROPERTIES_ENDING, read_properties
from nnunet_resunet_ds.base.splits_file import split_notes
from nnunet_resunet_ds.training.checks.stale_labels import check_labels_are_of

FINGERPRINT = "dataset_fingerprint.json"
REFERENCES = "gt_segmentations"
"""nnU-Net's copies of the training label maps."""
MAX_CASES_READ = 32
"""Of a dataset, spread over it: in other data nearly every file differs, and a training should not wait."""


def preprocessed_cases(data: Path) -> list[str]:
    """Return the cases that are preprocessed for a configuration, sorted; none where the folder is not there."""
    return [file.stem for file in visible_files(data, PROPERTIES_ENDING)]


def checked_data(preprocessed: Path, settings: Mapping[str, Any], configuration: str) -> list[str]:
    """Compare preprocessed data with its fingerprint and split, and with the raw dataset where this machine has it.

    Args:
        preprocessed: the dataset's folder below ``$nnUNet_preprocessed``.
        settings: the configuration, resolved.
        configuration: its name.

    Returns:
        Lines for the user about differences that do no harm.

    Raises:
        InputError: they are of different cases; with the command that makes the data again.
    """
    data = preprocessed / str(settings.get("data_identifier"))
    cases = preprocessed_cases(data)
    if not cases:
        return []  # nnU-Net says so itself
    remedy = f"make it again: {preprocess_again_command(preprocessed, configuration, data.name)}"
    dataset_json = read_json(preprocessed / DATASET_JSON)
    _check_fingerprint(preprocessed, data, cases, dataset_json, remedy)
    ending = dataset_json.get("file_ending", FILE_ENDING)
    references = {case: preprocessed / REFERENCES / f"{case}{ending}" for case in cases}
    check_labels_are_of(data, references, settings["spacing"], MAX_CASES_READ, remedy)
    raw = raw_dataset(preprocessed.name)
    notes = [] if raw is None else _compared_with_raw(preprocessed, raw, cases, dataset_json, remedy)
    return [*notes, *split_notes(preprocessed, cases)]


def raw_dataset(name: str) -> Path | None:
    """Return the raw dataset of a name; None where this machine does not have its label maps."""
    try:
        folder = nnunet_folder("nnUNet_raw") / name
    except InputError:
        return None
    return folder if (folder / "labelsTr").is_dir() else None


def check_references(preprocessed: Path, raw: Path, cases: Sequence[str], remedy: str) -> None:
    """Refuse label maps of a preprocessed dataset that differ from those of the raw one.

    Args:
        preprocessed: folder with nnU-Net's copies of the label maps.
        raw: the raw dataset.
        cases: in both; the size of each file is compared, and the bytes of some.
        remedy: for the message.

    Raises:
        InputError: one differs.
    """
    ending = read_json(raw / DATASET_JSON).get("file_ending", FILE_ENDING)
    pairs = [(raw / "labelsTr" / f"{case}{ending}", preprocessed / REFERENCES / f"{case}{ending}") for case in cases]
    there = [(one, other) for one, other in pairs if other.is_file() and one.is_file()]
    read = set(_spread(there))
    for one, other in there:
        same = one.stat().st_size == other.stat().st_size
        if not same or ((one, other) in read and not filecmp.cmp(one, other, shallow=False)):
            msg = (
                f"{one}: is not the label map that was preprocessed; {remedy}. If this is said again, remove "
                f"{other.parent} first: nnU-Net keeps copies that are newer"
            )
            raise InputError(msg)


def _check_fingerprint(
    preprocessed: Path, data: Path, cases: Sequence[str], dataset_json: Mapping[str, Any], remedy: str
) -> None:
    file = preprocessed / FINGERPRINT
    fingerprint = read_json(file)
    spacings, shapes = (list(fingerprint.get(key, ())) for key in ("spacings", "shapes_after_crop"))
    if len(spacings) != len(cases):
        msg = (
            f"{file}: is of {len(spacings)} cases, and {data} has {len(cases)}, so the plans are of other data; "
            f"{remedy}"
        )
        raise InputError(msg)
    if "dataset" in dataset_json:
        return  # which may name the cases in any order
    for number in _spread(range(len(cases))):
        properties = read_properties(data / f"{cases[number]}{PROPERTIES_ENDING}") or {}
        found = [properties.get(key) for key in ("spacing", "shape_after_cropping_and_before_resampling")]
        for noted, value in zip((spacings[number], shapes[number]), found, strict=True):
            if value is not None and not np.allclose(noted, np.asarray(value, float), rtol=1e-5):
                msg = f"{file}: has {noted} of {cases[number]}, which was preprocessed with {list(value)}; {remedy}"
                raise InputError(msg)


def _compared_with_raw(
    preprocessed: Path, raw: Path, cases: Sequence[str], dataset_json: Mapping[str, Any], remedy: str
) -> list[str]:
    raw_json = read_json(raw / DATASET_JSON)
    ending = raw_json.get("file_ending", FILE_ENDING)
    there = {file.name.removesuffix(ending) for file in visible_files(raw / "labelsTr", ending)}
    lost = [case for case in cases if case not in there]
    if lost:
        msg = f"{preprocessed}: {len(lost)} of its cases, such as {lost[0]}, are not in {raw}; {remedy}"
        raise InputError(msg)
    check_references(preprocessed, raw, cases, remedy)
    new = sorted(there - set(cases))
    if new:
        return [f"{len(new)} cases of {raw}, such as {new[0]}, are not preprocessed; to train on them, {remedy}"]
    if have_other_cases(dataset_json, raw_json):
        msg = f"{preprocessed}: was made when the cases of {raw} had other images; {remedy}"
        raise InputError(msg)
    return []


def _spread(items: Sequence[Any]) -> list[Any]:
    """Return at most `MAX_CASES_READ` of the items, evenly spread."""
    numbers = np.unique(np.linspace(0, len(items) - 1, min(MAX_CASES_READ, len(items))).astype(int))
    return [items[number] for number in numbers]


def resampling_notes(
    settings: Mapping[str, Any], transpose: Sequence[int], fingerprint: Mapping[str, Any]
) -> list[str]:
    """Return a line on how many cases nnU-Net resamples; no line where it resamples none.

    Args:
        settings: the resolved configuration.
        transpose: ``transpose_forward`` of its plans.
        fingerprint: nnU-Net's dataset_fingerprint.json, whose axes are not transposed yet.
    """
    target, spacings = settings["spacing"], fingerprint["spacings"]
    resampled = [
        spacing
        for shape, spacing in zip(fingerprint["shapes_after_crop"], spacings, strict=True)
        if _new_shape(shape, spacing, target, transpose) != [shape[axis] for axis in transpose]
    ]
    if not resampled:
        return []
    example, planned = _in_mm([resampled[0][axis] for axis in transpose]), _in_mm(target)
    return [
        f"{len(resampled)} of {len(spacings)} cases are resampled, for example from {example} to {planned} mm (axes in "
        "the order of the plans)."
    ]


def _in_mm(spacing: Sequence[float]) -> str:
    return " × ".join(f"{axis:.4g}" for axis in spacing)


def _new_shape(
    shape: Sequence[int], spacing: Sequence[float], target: Sequence[float], transpose: Sequence[int]
) -> list[int]:
    """Return the shape that nnU-Net's preprocessing would resample to, in its transposed axis order."""
    new_shape = compute_new_shape([shape[axis] for axis in transpose], [spacing[axis] for axis in transpose], target)
    return [int(axis) for axis in new_shape]
