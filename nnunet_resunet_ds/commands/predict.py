"""Predict label maps in one process: read, preprocess, sliding window, eight flips, thresholds and rules, write.

INPUT is raw BraTS case folders of any edition, or a folder of nnU-Net images (CASE_0000.nii.gz …); or give the images
of one case, one for each channel of the model. Label maps lie where the images do; run.json next to them says how each
was made. A case that cannot be predicted is named at the end and does not stop the others. Without -d and -m, the
starter model predicts, which comes with the package: a first look, not a result.

Examples:
  resunet-ds predict -i /data/BraTS2021_val -o labels
  resunet-ds predict --t1 t1.nii.gz --t1ce t1ce.nii.gz --t2 t2.nii.gz --flair flair.nii.gz -o tumour.nii.gz
  resunet-ds predict -i /data/BraTS2021_val -o labels -d 137
  resunet-ds predict -i /data/BraTS2021_val -o labels -d 137 --continue
  resunet-ds predict --t1 t1.nii.gz --t1ce t1ce.nii.gz --t2 t2.nii.gz --flair flair.nii.gz -o tumour.nii.gz -d 137
  resunet-ds predict -i imagesTs -o ensemble -m MODEL_A -m MODEL_B --labels 2023-gli
  resunet-ds predict -i /data/MET2026_val -o labels -d 140 -tr ResUNetDSTrainerModalityDropout --allow-missing T2
"""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import IMAGE_ENDINGS, OTHER_IMAGE_ENDINGS, check_output_folder
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.commands.arguments import (
    add_allow_missing_argument,
    add_model_arguments,
    add_overwrite_argument,
    add_postprocessing_arguments,
    chosen_config,
    chosen_model_folders,
    chosen_settings,
)
from nnunet_resunet_ds.commands.convert import add_edition_arguments
from nnunet_resunet_ds.commands.executor_arguments import add_executor_arguments, chosen_executor
from postprocessing.config import AVERAGES

if TYPE_CHECKING:
    from dataset_conversion.image_cases import CaseSet
    from dataset_conversion.labels import LabelConvention
    from nnunet_resunet_ds.inference.model import Model
    from nnunet_resunet_ds.inference.output import Output
    from nnunet_resunet_ds.inference.pipeline import Predicted
    from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings
    from nnunet_resunet_ds.inference.predictor import Predictor

SUMMARY = "images → label maps, in one process"
_FILES = {"T1": "t1", "T1ce": "t1ce", "T2": "t2", "FLAIR": "flair"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("-i", dest="inputs", nargs="+", type=Path, metavar="INPUT", help="folders to search")
    for channel, name in _FILES.items():
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"{channel} image of a single case")
    parser.add_argument(
        "-o",
        dest="output",
        type=Path,
        required=True,
        metavar="OUTPUT",
        help="folder; for a single case also a file, .nii.gz or .nii",
    )
    parser.add_argument("--continue", dest="resume", action="store_true", help="leave out what is already there")
    add_allow_missing_argument(
        parser,
        "an image of zeros stands for them, and run.json says what each case lacked. Train with "
        "-tr ResUNetDSTrainerModalityDropout for such cases; other models predict them less well",
    )
    add_overwrite_argument(parser)
    parser.add_argument(
        "--labels",
        default="nnunet",
        metavar="EDITION",
        help="label values: nnunet, those of the model's dataset (default), or those of an edition",
    )
    parser.add_argument("--save-probabilities", action="store_true", help="in nnU-Net's format, too")
    parser.add_argument(
        "--uncertainty",
        action="store_true",
        help="write maps to OUTPUT/uncertainty, too: the entropy of each region, and the variance over flips and folds",
    )
    add_model_arguments(parser, several=True, starter=True)
    parser.add_argument(
        "--average",
        choices=AVERAGES,
        default="probabilities",
        help="over flips, tiles and folds (default: probabilities, the paper's; nnUNetv2_predict averages logits)",
    )
    parser.add_argument(
        "--tiles",
        choices=("overlapping", "whole"),
        default="overlapping",
        help="whole: the volume at once, faster and with other results: see docs/understand/compared_with_nnunet.md "
        "(default: overlapping)",
    )
    parser.add_argument(
        "--tile-step",
        type=float,
        default=0.5,
        metavar="N",
        help="between overlapping tiles, in patch sizes, up to 1; 0.25 takes up to eight times as long (default: 0.5)",
    )
    add_postprocessing_arguments(
        parser, "what was tuned with the model; else the paper's, or nnU-Net's for regions other than WT, TC and ET"
    )
    add_edition_arguments(parser)
    add_executor_arguments(parser, takes_threads=False)


def run(options: argparse.Namespace) -> None:
    """Predict, and say what came of it."""
    from nnunet_resunet_ds.inference.model import load_model
    from nnunet_resunet_ds.inference.on_workers import predict_cases_on
    from nnunet_resunet_ds.inference.output import check_labels
    from nnunet_resunet_ds.inference.pipeline import predict_cases
    from nnunet_resunet_ds.inference.prediction_settings import check_models, config_of_models
    from nnunet_resunet_ds.inference.predictor import Predictor

    models = [load_model(folder, options.folds, options.checkpoint) for folder in chosen_model_folders(options)]
    case_set = _case_set(options, models[0])
    labels = _label_convention(options, case_set, models[0])
    check_labels(labels, models)
    settings = chosen_settings(
        options,
        [model.files for model in models],
        average=options.average,
        tiles=options.tiles,
        tile_step=options.tile_step,
        uncertainty=options.uncertainty,
        postprocessing=chosen_config(options, config_of_models(models)),
    )
    if options.scheduler:
        predictor = None  # each worker makes its own
        check_models(settings, models)
    else:
        predictor = Predictor.from_settings(settings, models)
    may_lack = any(case.optional for case in case_set.cases)
    _introduce(options, settings, models, predictor, may_lack=may_lack)
    print(f"{len(case_set.cases)} cases, read as {case_set.edition.title}: {case_set.reason}")
    environment = settings.environment(predictor.hardware if predictor else {})
    output = _output(options, labels, settings.recorded(models), environment, _map_kinds(settings, models))
    reads = [*(model.folder for model in models), *_inputs(options)]
    with (
        chosen_executor(options, reads, [output.folder]) as executor,
        output.opened(models, case_set.cases, resume=options.resume, overwrite=options.overwrite),
    ):
        if predictor:
            predicted = predict_cases(predictor, case_set, output, resume=options.resume)
        else:
            assert executor is not None  # of the scheduler
            predicted = predict_cases_on(executor, settings, case_set, output, resume=options.resume)
    _conclude(predicted, output)


def _inputs(options: argparse.Namespace) -> list[Path]:
    """Return the folders or files that are given."""
    return options.inputs or [file for name in _FILES.values() if (file := getattr(options, name))]


def _map_kinds(settings: "PredictionSettings", models: "list[Model]") -> tuple[str, ...]:
    """Return which maps are written; say so where nothing varies that one of them would be about."""
    from nnunet_resunet_ds.uncertainty.maps import ENTROPY, VARIANCE

    if not settings.uncertainty:
        return ()
    if sum(len(model.weights) for model in models) * _n_flips(models[0], settings) > 1:
        return ENTROPY, VARIANCE
    LOG.warning(
        "one fold without flips: nothing varies, so there is no map of variance, but of entropy alone; for both, leave "
        "out --disable_tta, or give several folds (-f) or models (-m)"
    )
    return (ENTROPY,)


def _output(
    options: argparse.Namespace,
    labels: "LabelConvention",
    settings: dict[str, Any],
    environment: dict[str, Any],
    map_kinds: tuple[str, ...],
) -> "Output":
    """Return the folder to write to; nothing is written yet."""
    from dataset_conversion.editions import FILE_ENDING
    from nnunet_resunet_ds.inference.output import Output

    return Output(
        options.output.parent if _is_file(options.output) else options.output,
        labels,
        settings,
        environment,
        save_probabilities=options.save_probabilities,
        ending=_ending(options.output) or FILE_ENDING,
        map_kinds=map_kinds,
    )


def _is_file(output: Path) -> bool:
    return _ending(output) is not None


def _ending(output: Path) -> str | None:
    """Return the ending of an image that is to be written; None where the output is a folder."""
    return None if output.is_dir() else next((end for end in IMAGE_ENDINGS if output.name.endswith(end)), None)


def _check_output(output: Path) -> None:
    """Refuse a name that is neither a folder's nor that of a NIfTI image."""
    if output.name.lower().endswith((*IMAGE_ENDINGS, *OTHER_IMAGE_ENDINGS)) and not output.is_dir():
        if not _is_file(output):
            endings = " or ".join(IMAGE_ENDINGS)
            msg = f"{output}: label maps are written as {endings}; give a name that ends so, or a folder"
            raise InputError(msg)
        return
    check_output_folder(output)


def _case_set(options: argparse.Namespace, model: "Model") -> "CaseSet":
    from dataset_conversion.image_cases import find_prediction_cases, single_case

    _check_output(options.output)
    files = {channel: getattr(options, name) for channel, name in _FILES.items() if getattr(options, name)}
    if bool(files) == bool(options.inputs):
        msg = f"give either folders with -i, or one case with {' '.join(f'--{name}' for name in _FILES.values())}"
        raise InputError(msg)
    if options.inputs:
        if _is_file(options.output):
            msg = f"{options.output}: cases of folders need a folder for -o"
            raise InputError(msg)
        return find_prediction_cases(
            options.inputs, model.channels, options.edition, options.edition_file, options.allow_missing
        )
    name = options.output.name.removesuffix(_ending(options.output) or "")
    case_id = name if _is_file(options.output) else _common_start(files.values())
    return single_case(case_id, files, model.channels, options.allow_missing)


def _common_start(files: Iterable[Path]) -> str:
    """Return what the names of the images of one case begin with, up to the last sign between words."""
    start = os.path.commonprefix([file.name for file in files])  # noqa: RUF071 (of names, not of paths)
    return start[: max(start.rfind(sign) for sign in "_- ") + 1].rstrip("_- ") or "case"


def _label_convention(options: argparse.Namespace, case_set: "CaseSet", model: "Model") -> "LabelConvention":
    from dataset_conversion.detect_edition import edition_by_case_ids
    from dataset_conversion.editions import NNUNET_KEY
    from dataset_conversion.labels import LabelConvention, nnunet_convention

    if options.labels == NNUNET_KEY:
        return nnunet_convention(model.dataset_json)
    case_ids = [case.case_id for case in case_set.cases]
    file = options.edition_file if options.labels == "custom" else None
    try:
        return LabelConvention.of(edition_by_case_ids(options.labels, case_ids, file).edition)
    except InputError as error:
        msg = f"--labels {options.labels}: {error}".replace("--edition", "--labels")
        raise InputError(msg) from error


def _introduce(
    options: argparse.Namespace,
    settings: "PredictionSettings",
    models: "list[Model]",
    predictor: "Predictor | None",
    *,
    may_lack: bool,
) -> None:
    """Print how the cases are predicted, some of which may lack a sequence."""
    from nnunet_resunet_ds.inference.model import DROPOUT_TRAINER
    from nnunet_resunet_ds.models.starter import STARTER_FOLDER, starter_card

    if models[0].folder == STARTER_FOLDER:
        print(f"the starter model: {starter_card().headline}; choose your own with -d or -m")
    for model in models:
        print(f"model: {model.folder}, fold {', '.join(model.weights)}, {model.checkpoint}")
    where = f"the workers of {options.scheduler}"
    if predictor:
        where = f"{predictor.device} in {predictor.hardware['precision']}"
    if may_lack and not all(model.knows_absent_channels for model in models):
        LOG.warning(
            "the model was not trained with absent sequences, as %s does: expect less of cases that lack one",
            DROPOUT_TRAINER,
        )
    tiles = settings.tiles if settings.tiles == "whole" else f"{settings.tiles} (step {settings.tile_step:g})"
    print(f"on {where}: {_n_flips(models[0], settings)} flips, {tiles} tiles, {settings.average} averaged")


def _n_flips(model: "Model", settings: "PredictionSettings") -> int:
    """Return over how many flips a prediction is averaged; 1 is none but the image as it is."""
    return 2 ** len(model.mirror_axes) if settings.use_mirroring else 1


def _conclude(predicted: "Predicted", output: "Output") -> None:
    from dataset_conversion.cohort import absence_lines, warning_lines
    from nnunet_resunet_ds.uncertainty.maps import FOLDER as MAPS_FOLDER
    from postprocessing.case import summary_lines

    said = (*summary_lines(output.changes), *absence_lines(predicted.absent), *warning_lines(predicted.warnings))
    print(*said, sep="\n", end="\n" if said else "")
    earlier = f", {len(predicted.skipped)} were there" if predicted.skipped else ""
    what = f"{len(predicted.written)} label map{'' if len(predicted.written) == 1 else 's'} to {output.folder}"
    if len(predicted.written) == 1 and not earlier and not predicted.failures:  # a single case
        what = str(output.writer.label_map(predicted.written[0]))
    print(f"wrote {what}{earlier}")
    if output.map_kinds:
        print(f"maps of uncertainty ({' and '.join(output.map_kinds)}): {output.folder / MAPS_FOLDER}")
    for fault in predicted.faults.values():
        print("\n".join(predicted.failures.values()))
        raise fault
    if predicted.failures:
        lines = [predicted.failures[case_id] for case_id in sorted(predicted.failures)]
        n_failed = f"{len(lines)} cases failed; correct them and run with --continue"
        raise InputError("\n".join([*lines, n_failed]))
