"""Check preprocessed data: against the fingerprint that its plans were made from, and against the raw dataset.

Check as well that its background is exactly 0: the network's salient channel is read from that.
"""

import filecmp
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.preprocessing.normalization.default_normalization_schemes import ZScoreNormalization
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, nnunet_folder, preprocess_command
from nnunet_resunet_ds.base.region_checks import have_other_cases
from nnunet_resunet_ds.base.splits_file import split_notes
from nnunet_resunet_ds.plans import has_salient_channel
from postprocessing.probabilities import PROPERTIES, read_properties

FINGERPRINT = "dataset_fingerprint.json"
REFERENCES = "gt_segmentations"
"""nnU-Net's copies of the training label maps."""
MAX_CASES_READ = 32
"""Of a dataset, spread over it: in other data nearly every file differs, and a training should not wait."""
_WITHOUT_CHANNEL = (
    "or train without the salient channel (-tr ResUNetDSTrainerNoSalientChannel, or resunet-ds plan -d ID "
    "--no-salient-channel)"
)


def preprocessed_cases(data: Path) -> list[str]:
    """Return the cases that are preprocessed for a configuration, sorted; none where the folder is not there."""
    return sorted(file.stem for file in data.glob(f"*{PROPERTIES}"))


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
    remedy = f"make it again: {preprocess_command(preprocessed.name, configuration)}"
    _check_fingerprint(preprocessed, data, cases, remedy)
    raw = raw_dataset(preprocessed.name)
    notes = [] if raw is None else _compared_with_raw(preprocessed, raw, cases, remedy)
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
    ending = read_json(raw / DATASET_JSON).get("file_ending", ".nii.gz")
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


def _check_fingerprint(preprocessed: Path, data: Path, cases: Sequence[str], remedy: str) -> None:
    file = preprocessed / FINGERPRINT
    fingerprint = read_json(file)
    spacings, shapes = (list(fingerprint.get(key, ())) for key in ("spacings", "shapes_after_crop"))
    if len(spacings) != len(cases):
        msg = (
            f"{file}: is of {len(spacings)} cases, and {data} has {len(cases)}, so the plans are of other data; "
            f"{remedy}"
        )
        raise InputError(msg)
    if "dataset" in read_json(preprocessed / DATASET_JSON):
        return  # which may name the cases in any order
    for number in _spread(range(len(cases))):
        properties = read_properties(data / f"{cases[number]}{PROPERTIES}") or {}
        found = [properties.get(key) for key in ("spacing", "shape_after_cropping_and_before_resampling")]
        for noted, value in zip((spacings[number], shapes[number]), found, strict=True):
            if value is not None and not np.allclose(noted, np.asarray(value, float), rtol=1e-5):
                msg = f"{file}: has {noted} of {cases[number]}, which was preprocessed with {list(value)}; {remedy}"
                raise InputError(msg)


def _compared_with_raw(preprocessed: Path, raw: Path, cases: Sequence[str], remedy: str) -> list[str]:
    raw_json = read_json(raw / DATASET_JSON)
    ending = raw_json.get("file_ending", ".nii.gz")
    there = {file.name.removesuffix(ending) for file in (raw / "labelsTr").glob(f"[!.]*{ending}")}
    lost = [case for case in cases if case not in there]
    if lost:
        msg = f"{preprocessed}: {len(lost)} of its cases, such as {lost[0]}, are not in {raw}; {remedy}"
        raise InputError(msg)
    check_references(preprocessed, raw, cases, remedy)
    new = sorted(there - set(cases))
    if new:
        return [f"{len(new)} cases of {raw}, such as {new[0]}, are not preprocessed; to train on them, {remedy}"]
    if have_other_cases(read_json(preprocessed / DATASET_JSON), raw_json):
        msg = f"{preprocessed}: was made when the cases of {raw} had other images; {remedy}"
        raise InputError(msg)
    return []


def _spread(items: Sequence[Any]) -> list[Any]:
    """Return at most `MAX_CASES_READ` of the items, evenly spread."""
    numbers = np.unique(np.linspace(0, len(items) - 1, min(MAX_CASES_READ, len(items))).astype(int))
    return [items[number] for number in numbers]


def check_background(settings: Mapping[str, Any], plans: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> None:
    """Refuse data with a background that would not be 0 in training.

    Args:
        settings: the resolved configuration.
        plans: the plans file it belongs to.
        fingerprint: nnU-Net's dataset_fingerprint.json.

    Raises:
        InputError: a normalisation is not masked, or a case would be resampled, which rings into the background.
    """
    if not has_salient_channel(settings["architecture"]):
        return
    _check_normalization(settings)
    _check_resampling(settings, plans["transpose_forward"], fingerprint)


def _check_normalization(settings: Mapping[str, Any]) -> None:
    schemes, masked = settings["normalization_schemes"], settings["use_mask_for_norm"]
    for channel, (scheme, is_masked) in enumerate(zip(schemes, masked, strict=True)):
        if scheme != ZScoreNormalization.__name__ or not is_masked:
            msg = (
                f"channel {channel} is normalised by {scheme} with use_mask_for_norm {str(is_masked).lower()}, so the "
                "background does not stay at zero in training, and the salient channel is read from that zero: use "
                "skull-stripped images (then nnU-Net plans ZScoreNormalization with use_mask_for_norm true) "
                + _WITHOUT_CHANNEL
            )
            raise InputError(msg)


def _check_resampling(settings: Mapping[str, Any], transpose: list[int], fingerprint: Mapping[str, Any]) -> None:
    target = settings["spacing"]
    resampled = [
        spacing
        for shape, spacing in zip(fingerprint["shapes_after_crop"], fingerprint["spacings"], strict=True)
        if _new_shape(shape, spacing, target, transpose) != [shape[axis] for axis in transpose]
    ]
    if resampled:
        msg = (
            f"{len(resampled)} of {len(fingerprint['spacings'])} cases would be resampled (for example from spacing "
            f"{resampled[0]} to {list(target)} mm), which blurs the zero background that the salient channel reads: "
            "use 3d_fullres, bring the images to its spacing before conversion, " + _WITHOUT_CHANNEL
        )
        raise InputError(msg)


def _new_shape(shape: list[int], spacing: list[float], target: list[float], transpose: list[int]) -> list[int]:
    """Return the shape that nnU-Net's preprocessing would resample to, in its transposed axis order."""
    new_shape = compute_new_shape([shape[axis] for axis in transpose], [spacing[axis] for axis in transpose], target)
    return [int(axis) for axis in new_shape]
