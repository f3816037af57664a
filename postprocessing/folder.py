"""Post-processing a folder that ``nnUNetv2_predict --save_probabilities`` or our ``predict`` wrote."""

from concurrent.futures import Executor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.dataset_json import check_regions
from nnunet_resunet_ds.errors import InputError
from nnunet_resunet_ds.files import read_json, remove_half_written
from nnunet_resunet_ds.folder_lock import only_writer
from nnunet_resunet_ds.images import read_image, write_labels
from nnunet_resunet_ds.mapping import for_each
from nnunet_resunet_ds.nnunet_folders import DATASET_JSON
from postprocessing.case import Change, postprocess_explained
from postprocessing.changes import TABLE, write_changes
from postprocessing.config import PostprocessingConfig
from postprocessing.model_config import SETTINGS
from postprocessing.npz import DamagedError, read_arrays

PROBABILITIES_KEY = "probabilities"
"""Of nnU-Net's .npz files; axes (R, Z, Y, X) as SimpleITK reads the image."""
LABEL_SUFFIX = ".nii.gz"
RUN = "run.json"
"""Of our ``predict``: says what probabilities are an average of."""


def postprocess_folder(
    input_folder: Path, output_folder: Path, config: PostprocessingConfig, executor: Executor | None = None
) -> dict[str, list[Change]]:
    """Write a label map for every ``.npz`` of a prediction folder, with the geometry of the label map beside it.

    The settings are written beside the label maps, and a table of what each step changed. A case that fails does not
    stop the others.

    Args:
        input_folder: of probabilities and label maps.
        output_folder: for label maps.
        config: of every case.
        executor: who works on cases; None is a thread for each core.

    Returns:
        What was changed in each case written, by its name.

    Raises:
        InputError: there are no probabilities, they are of other regions, the output is the input, another process
            writes there, or cases failed; then the message has a line a case, and the others are written.
    """
    probability_files = _probability_files(input_folder)
    _check_dataset(input_folder)
    if output_folder.resolve() == input_folder.resolve():
        msg = f"{output_folder}: the output would overwrite the stock label maps; give another folder with -o"
        raise InputError(msg)
    output_folder.mkdir(parents=True, exist_ok=True)
    failures = _without_probabilities(input_folder)
    with only_writer(output_folder):
        remove_half_written(output_folder, f"*{LABEL_SUFFIX}", SETTINGS, TABLE)
        config.to_json(output_folder / SETTINGS)
        work = partial(_postprocess_file, output_folder=output_folder, config=config)
        outcomes = dict(zip(probability_files, for_each(probability_files, work, "postprocess", executor), strict=True))
        written = {
            path.name.removesuffix(".npz"): changes
            for path, changes in outcomes.items()
            if not isinstance(changes, InputError)
        }
        failures += [str(outcome) for outcome in outcomes.values() if isinstance(outcome, InputError)]
        write_changes(written, output_folder / TABLE)
    if failures:
        raise InputError("\n".join([*failures, f"{len(failures)} cases failed, {len(written)} are written"]))
    return written


def averaging_of(folder: Path) -> str:
    """Return what the probabilities of a prediction folder are an average of; nnU-Net's are of logits."""
    run = folder / RUN
    content = read_json(run) if run.is_file() else {}
    return str(content.get("average", "logits")) if isinstance(content, dict) else "logits"


def read_probabilities(path: Path) -> NDArray[np.floating]:
    """Read the region probabilities (R, Z, Y, X) that nnU-Net saved.

    Raises:
        InputError: the file is damaged, or holds no floating-point array under ``probabilities``.
    """
    try:
        probabilities: NDArray[np.floating] = read_arrays(path, [PROBABILITIES_KEY])[0]
    except KeyError as error:
        msg = f"{path}: has no array {PROBABILITIES_KEY!r}; predict with nnUNetv2_predict --save_probabilities"
        raise InputError(msg) from error
    except DamagedError as error:
        msg = f"{path}: damaged ({error}); predict this case again"
        raise InputError(msg) from error
    if not np.issubdtype(probabilities.dtype, np.floating):
        msg = f"{path}: probabilities must be floating-point; got {probabilities.dtype}"
        raise InputError(msg)
    return probabilities


def _probability_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        msg = f"{folder}: no such folder"
        raise InputError(msg)
    files = sorted(path for path in folder.glob("*.npz") if not path.name.startswith("."))
    if not files:
        msg = f"{folder}: no .npz probabilities; predict with nnUNetv2_predict … --save_probabilities"
        raise InputError(msg)
    return files


def _check_dataset(folder: Path) -> None:
    """Refuse predictions of other regions, or of plain labels, by the dataset.json that nnU-Net copies beside them."""
    dataset_json = folder / DATASET_JSON
    if dataset_json.is_file():
        check_regions(read_json(dataset_json))


def _without_probabilities(folder: Path) -> list[str]:
    """Name the label maps that have no probabilities beside them."""
    return [
        f"{path}: has no probabilities beside it; predict this case again with --save_probabilities"
        for path in sorted(folder.glob(f"*{LABEL_SUFFIX}"))
        if not path.name.startswith(".") and not (folder / f"{path.name.removesuffix(LABEL_SUFFIX)}.npz").is_file()
    ]


def _postprocess_file(path: Path, output_folder: Path, config: PostprocessingConfig) -> list[Change]:
    stock = path.with_name(path.name.removesuffix(".npz") + LABEL_SUFFIX)
    geometry = read_image(stock)
    probabilities = read_probabilities(path)
    shape = geometry.GetSize()[::-1]
    if probabilities.shape[1:] != shape:
        msg = f"{path}: probabilities of shape {probabilities.shape[1:]} do not fit {stock.name} of shape {shape}"
        raise InputError(msg)
    try:
        labels, changes = postprocess_explained(probabilities, config)
    except InputError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from error
    write_labels(labels, geometry, output_folder / stock.name)
    return changes
