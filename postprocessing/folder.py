"""Post-processing a folder that ``nnUNetv2_predict --save_probabilities`` or our ``predict`` wrote."""

import glob
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.file_formats import format_of_name
from nnunet_resunet_ds.base.files import check_output_folder, read_json, remove_half_written
from nnunet_resunet_ds.base.images import read_image, write_labels
from nnunet_resunet_ds.base.locks import only_writer
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON
from nnunet_resunet_ds.base.parallel import for_each
from nnunet_resunet_ds.base.region_checks import check_regions
from nnunet_resunet_ds.base.run_file import LABELS, MADE_BY, MODELS, RUN, WEIGHTS, RunFile, Runs, read_runs
from postprocessing.case import CHANGES, TABLE, Change, changes_of, postprocess_explained, write_changes
from postprocessing.config import PostprocessingConfig
from postprocessing.model_config import SETTINGS
from postprocessing.probabilities import PROBABILITIES, check_painted, probabilities_on_grid

LABEL_SUFFIX = ".nii.gz"
_NNUNET = "nnunet"
"""Whose label values are written."""
_AVERAGE, _LOGITS = "average", "logits"
"""Of a run of our ``predict``; and what nnU-Net's own probabilities are an average of."""


def postprocess_folder(
    input_folder: Path,
    output_folder: Path,
    config: PostprocessingConfig,
    executor: Executor | None = None,
    *,
    overwrite: bool = False,
) -> dict[str, list[Change]]:
    """Write a label map for every ``.npz`` of a prediction folder, with the geometry of the label map next to it.

    The settings are written next to the label maps, with what each step changed in each case. A case that fails does
    not stop the others.

    Args:
        input_folder: of probabilities and label maps.
        output_folder: for label maps in nnU-Net's values.
        config: of every case.
        executor: who works on cases; None is a thread for each core.
        overwrite: label maps of other settings and cases may stay there.

    Returns:
        What was changed in each case written, by its name.

    Raises:
        InputError: there are no probabilities, they are of other regions, the output is the input or has label maps of
            other settings, another process writes there, or cases failed; then the message has a line a case, and the
            others are written.
    """
    files = _probability_files(input_folder)
    _check_dataset(input_folder)
    check_output_folder(output_folder)
    if output_folder.resolve() == input_folder.resolve():
        msg = f"{output_folder}: the output would overwrite the stock label maps; give another folder with -o"
        raise InputError(msg)
    output_folder.mkdir(parents=True, exist_ok=True)
    settings = {MADE_BY: "resunet-ds postprocess", LABELS: _NNUNET, "postprocessing": config.to_mapping()}
    run_file = RunFile(output_folder, settings, {"probabilities": str(input_folder.resolve())})
    failures = _without_probabilities(input_folder)
    with only_writer(output_folder):
        remove_half_written(output_folder, f"*{LABEL_SUFFIX}", SETTINGS, TABLE, RUN)
        run_file.open(set(map(_case, files)), overwrite=overwrite)
        config.to_json(output_folder / SETTINGS)

        def settle(file: Path, outcome: list[Change] | InputError) -> None:
            if isinstance(outcome, InputError):
                run_file.note_failure(_case(file), str(outcome))
            else:
                entry = {CHANGES: list(map(asdict, outcome))}
                run_file.note(_case(file), f"{_case(file)}{LABEL_SUFFIX}", entry)

        runs = read_runs(input_folder)
        work = partial(_postprocess_file, output_folder=output_folder, config=config, runs=runs)
        try:
            outcomes = for_each(files, work, "postprocess", executor, settle=settle)
        finally:
            run_file.close()
        write_changes(changes_of(run_file.cases), output_folder / TABLE)
    failures += [str(outcome) for outcome in outcomes if isinstance(outcome, InputError)]
    named = zip(map(_case, files), outcomes, strict=True)
    written = {case: outcome for case, outcome in named if not isinstance(outcome, InputError)}
    if failures:
        raise InputError("\n".join([*failures, f"{len(failures)} cases failed, {len(written)} are written"]))
    return written


MadeBy = Sequence[Mapping[str, Any] | None]
"""The run of ours that made the probabilities of each case; None where none did."""


def made_by(folder: Path) -> MadeBy:
    """Return which runs made the probabilities of a folder, in the order of its files.

    Raises:
        InputError: there are none.
    """
    runs = read_runs(folder)
    return [runs.of_case(_case(file)) if runs else None for file in _probability_files(folder)]


def averages_of(made_by: MadeBy) -> set[str]:
    """Return what probabilities are averages of; those that no run of ours made, of logits."""
    return {_LOGITS if run is None else str(run.get(_AVERAGE, _LOGITS)) for run in made_by}


def weights_of(made_by: MadeBy) -> list[dict[str, str]]:
    """Return fold → identity of the weights of the first model, for each run of ours that notes them."""
    models = [run[MODELS][0] for run in made_by if run and isinstance(run.get(MODELS), list) and run[MODELS]]
    return [model[WEIGHTS] for model in models if isinstance(model, dict) and isinstance(model.get(WEIGHTS), dict)]


def _case(file: Path) -> str:
    return file.name.removesuffix(PROBABILITIES)


def _probability_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        msg = f"{folder}: no such folder"
        raise InputError(msg)
    files = sorted(path for path in folder.glob(f"*{PROBABILITIES}") if not path.name.startswith("."))
    if not files:
        msg = f"{folder}: no .npz probabilities; predict with nnUNetv2_predict … --save_probabilities"
        raise InputError(msg)
    return files


def _check_dataset(folder: Path) -> None:
    """Refuse predictions of other regions, or of plain labels, by the dataset.json that nnU-Net copies there."""
    dataset_json = folder / DATASET_JSON
    if dataset_json.is_file():
        check_regions(read_json(dataset_json))


def _without_probabilities(folder: Path) -> list[str]:
    """Name the label maps that have no probabilities."""
    cases = {path: path.name.removesuffix(LABEL_SUFFIX) for path in sorted(folder.glob(f"[!.]*{LABEL_SUFFIX}"))}
    return [
        f"{path}: has no probabilities next to it; predict this case again with --save_probabilities"
        for path, case in cases.items()
        if not (folder / f"{case}{PROBABILITIES}").is_file()
    ]


def _postprocess_file(
    path: Path, output_folder: Path, config: PostprocessingConfig, runs: Runs | None
) -> list[Change]:
    stock = _label_map(path)
    geometry = read_image(stock)
    probabilities = probabilities_on_grid(path, geometry)
    if runs is None or not runs.is_as_written(_case(path)):
        check_painted(probabilities, path, stock)
    try:
        labels, changes = postprocess_explained(probabilities, config)
    except InputError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from error
    write_labels(labels, geometry, output_folder / stock.name)
    return changes


def _label_map(probabilities: Path) -> Path:
    """Return the label map next to probabilities.

    Raises:
        InputError: it is there in another format alone, as nnU-Net writes it for images of that format.
    """
    file = probabilities.with_name(f"{_case(probabilities)}{LABEL_SUFFIX}")
    others = [] if file.exists() else sorted(file.parent.glob(f"{glob.escape(_case(probabilities))}.*"))
    for other in others:
        found = format_of_name(other.name)
        if found:
            msg = f"{other}: is {found.name}, and only NIfTI label maps are read; {found.advice}"
            raise InputError(msg)
    return file
