"""Post-process a folder that ``nnUNetv2_predict --save_probabilities`` or our ``predict`` wrote."""

import glob
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.case_notes import weights_setting, with_notes_of_case
from nnunet_resunet_ds.base.dataset_json import read_dataset_json, regions_of
from nnunet_resunet_ds.base.errors import InputError, said_of
from nnunet_resunet_ds.base.file_formats import format_of_name
from nnunet_resunet_ds.base.files import FILE_ENDING, IMAGE_ENDINGS, case_of_file, visible_files
from nnunet_resunet_ds.base.images import read_labels, write_labels
from nnunet_resunet_ds.base.label_map_folder import check_output_apart, only_run, results_of_all
from nnunet_resunet_ds.base.log import LOG, warn_each
from nnunet_resunet_ds.base.parallel import for_each
from nnunet_resunet_ds.base.run_file import (
    LABEL_REGIONS,
    LABELS,
    MADE_BY,
    MODELS,
    WEIGHTS,
    RunFile,
    Runs,
    entries_of,
    notes_on_unmade,
    read_runs,
)
from postprocessing.case import CHANGES, TABLE, Change, changes_of, postprocess_explained, write_changes
from postprocessing.config import AVERAGE, EARLIER_FORMS, LOGITS, RUN_SETTING, PostprocessingConfig
from postprocessing.emptied import emptied_warnings
from postprocessing.model_config import SETTINGS_FILE, check_config_fits, nnunet_config, notes_on_weights
from postprocessing.probabilities import PROBABILITIES_ENDING, probabilities_on_grid
from postprocessing.saved_probabilities import check_of_label_map

_NNUNET = "nnunet"
"""Whose label values are written."""


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
    dataset_json = read_dataset_json(input_folder)
    if dataset_json is not None:
        check_config_fits(config, dataset_json)
    check_output_apart(output_folder, [input_folder])
    settings = {
        MADE_BY: "resunet-ds postprocess",
        LABELS: _NNUNET,
        **_label_regions(config, dataset_json),
        **weights_setting(entries_of(map(_label_map, files)).values()),
        RUN_SETTING: config.to_mapping(),
    }
    environment = {"probabilities": str(input_folder.resolve())}
    run_file = RunFile(output_folder, settings, environment, earlier_forms=EARLIER_FORMS)
    warn_each(notes_on_unmade(input_folder))
    cases = list(map(_case, files))
    lacking = _without_probabilities(input_folder)
    with only_run(run_file, cases, [SETTINGS_FILE, TABLE], lacking, overwrite=overwrite):
        config.to_json(output_folder / SETTINGS_FILE)
        outcomes = _postprocess_files(files, config, nnunet_config(dataset_json), run_file, executor)
        write_changes(changes_of(run_file.cases), output_folder / TABLE)
    return dict(zip(cases, results_of_all(outcomes, list(lacking.values())), strict=True))


def _label_regions(config: PostprocessingConfig, dataset_json: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what ``run.json`` says of label values that are not of WT, TC and ET; nothing where they are."""
    if config.tumour_regions:
        return {}
    if dataset_json is None:
        return {LABEL_REGIONS: {region.name: [region.label] for region in config.further}}
    return {LABEL_REGIONS: {region.name: list(region.tissues) for region in regions_of(dataset_json)}}


def _postprocess_files(
    files: Sequence[Path],
    config: PostprocessingConfig,
    as_nnunet: PostprocessingConfig,
    run_file: RunFile,
    executor: Executor | None,
) -> list[list[Change] | InputError]:
    """Write the label map of every file and note it in ``run.json``; return what came of each."""

    def settle(file: Path, outcome: list[Change] | InputError) -> None:
        case = _case(file)
        if isinstance(outcome, InputError):
            run_file.note_failure(case, str(outcome))
        else:
            before = runs.as_written(_label_map(file).name) if runs else None
            notes = with_notes_of_case([before] if before else [], list(emptied_warnings(outcome, config)))
            run_file.note(case, f"{case}{FILE_ENDING}", {CHANGES: list(map(asdict, outcome)), **notes})

    runs = read_runs(files[0].parent)
    work = partial(_postprocess_file, output_folder=run_file.folder, config=config, as_nnunet=as_nnunet, runs=runs)
    return for_each(files, work, "postprocess", executor, settle=settle)


def log_what_does_not_fit(config: PostprocessingConfig, folder: Path) -> None:
    """Warn where settings were tuned on an average or on weights that did not make the probabilities of a folder.

    Raises:
        InputError: the folder has no probabilities.
    """
    runs = list(_runs_of_cases(folder))
    # probabilities of nnU-Net itself are an average of logits
    averages = {LOGITS if run is None else str(run.get(AVERAGE, LOGITS)) for run in runs}
    others = averages - {config.averaging}
    if config.averaging is not None and others:
        LOG.warning(
            "tuned on an average of %s, and probabilities here are one of %s", config.averaging, ", ".join(others)
        )
    noted = [weights for run in runs if run is not None and (weights := _weights_of(run)) is not None]
    warn_each(dict.fromkeys(line for weights in noted for line in notes_on_weights(config, weights)))
    if config.tuned_on and not noted:
        LOG.info(
            "%s: nothing says which weights made these probabilities, so whether the tuned settings fit is not checked",
            folder,
        )


def _runs_of_cases(folder: Path) -> Iterator[Mapping[str, Any] | None]:
    """Yield the run of ours that made the probabilities of each case; None where none did."""
    runs = read_runs(folder)
    for file in _probability_files(folder):
        yield runs.of_case(_case(file)) if runs else None


def _weights_of(run: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Return fold → identity of the weights of the first model of a run, where it notes them."""
    models = run.get(MODELS)
    model = models[0] if isinstance(models, list) and models else None
    weights = model.get(WEIGHTS) if isinstance(model, dict) else None
    return weights if isinstance(weights, dict) else None


def _case(file: Path) -> str:
    return file.name.removesuffix(PROBABILITIES_ENDING)


def _probability_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        msg = f"{folder}: no such folder"
        raise InputError(msg)
    files = visible_files(folder, PROBABILITIES_ENDING)
    if not files:
        msg = (
            f"{folder}: no .npz probabilities; predict again with resunet-ds predict --save-probabilities, or "
            "nnUNetv2_predict --save_probabilities"
        )
        raise InputError(msg)
    return files


def _without_probabilities(folder: Path) -> dict[str, str]:
    """Return case → what is to be done, of the label maps that have no probabilities."""
    cases = {case_of_file(path): path for ending in IMAGE_ENDINGS for path in visible_files(folder, ending)}
    return {
        case: f"{path}: has no probabilities next to it; predict this case again with --save_probabilities"
        for case, path in cases.items()
        if not (folder / f"{case}{PROBABILITIES_ENDING}").is_file()
    }


def _postprocess_file(
    path: Path,
    output_folder: Path,
    config: PostprocessingConfig,
    as_nnunet: PostprocessingConfig,
    runs: Runs | None,
) -> list[Change]:
    stock = _label_map(path)
    if not stock.exists():
        raise InputError(_why_not_there(path))
    geometry, painted = read_labels(stock)
    probabilities = probabilities_on_grid(path, geometry)
    check_of_label_map(probabilities, path, painted, runs, as_nnunet)
    with said_of(path):
        labels, changes = postprocess_explained(probabilities, config, math.prod(geometry.GetSpacing()))
    write_labels(labels, geometry, output_folder / f"{_case(path)}{FILE_ENDING}")
    return changes


def _label_map(probabilities: Path) -> Path:
    """Return where the label map next to probabilities is, compressed or not."""
    files = [probabilities.with_name(f"{_case(probabilities)}{ending}") for ending in IMAGE_ENDINGS]
    return next((file for file in files if file.exists()), files[0])


def _why_not_there(probabilities: Path) -> str:
    """Say why probabilities have no label map: it may be in another format, as nnU-Net writes it for such images."""
    for other in sorted(probabilities.parent.glob(f"{glob.escape(_case(probabilities))}.*")):
        found = format_of_name(other.name)
        if found:
            return f"{other}: is {found.name}, and only NIfTI label maps are read; {found.advice}"
    label_map = _label_map(probabilities)
    return f"{label_map}: the label map of {probabilities.name} is not there; predict this case again"
