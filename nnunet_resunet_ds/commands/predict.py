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
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import IMAGE_ENDINGS, OTHER_IMAGE_ENDINGS, check_output_folder
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.model_id import check_model_folder
from nnunet_resunet_ds.commands.arguments import add_allow_missing_argument, add_overwrite_argument
from nnunet_resunet_ds.commands.edition_arguments import add_edition_arguments
from nnunet_resunet_ds.commands.executor_arguments import add_executor_arguments, chosen_executor
from nnunet_resunet_ds.commands.given_paths import check_files, check_folders
from nnunet_resunet_ds.commands.model_arguments import add_model_arguments, chosen_model_folders, chosen_settings
from nnunet_resunet_ds.commands.postprocessing_arguments import add_postprocessing_arguments, chosen_config
from nnunet_resunet_ds.commands.prediction_lines import (
    conclude,
    introduce,
    n_flips,
    say_cases,
    say_what_is_there,
)
from nnunet_resunet_ds.commands.single_case import ALL_FLAGS, add_image_arguments, image_files
from postprocessing.config import AVERAGES

if TYPE_CHECKING:
    from dataset_conversion.image_cases import CaseSet
    from dataset_conversion.label_conventions import LabelConvention
    from nnunet_resunet_ds.inference.model import Model
    from nnunet_resunet_ds.inference.output import Output
    from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings

SUMMARY = "turn images into label maps"
FOR_STRAYS = "give the folder with -i: resunet-ds predict -i {} -o OUTPUT"
"""What to type where an argument has no flag before it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("-i", dest="inputs", nargs="+", type=Path, metavar="INPUT", help="folders to search")
    add_image_arguments(parser)
    parser.add_argument(
        "-o",
        dest="output",
        type=Path,
        required=True,
        metavar="OUTPUT",
        help="folder; for a single case also a file, .nii.gz or .nii",
    )
    parser.add_argument(
        "--continue",
        dest="resume",
        action="store_true",
        help="go on with the last run there: predict only the cases that it has not finished",
    )
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
    folders = _check_paths(options)
    from nnunet_resunet_ds.inference.load_model import load_model
    from nnunet_resunet_ds.inference.model_checks import check_models
    from nnunet_resunet_ds.inference.on_workers import predict_cases_on
    from nnunet_resunet_ds.inference.output import check_labels
    from nnunet_resunet_ds.inference.pipeline import predict_cases
    from nnunet_resunet_ds.inference.prediction_settings import config_of_models
    from nnunet_resunet_ds.inference.predictor import Predictor

    models = [load_model(folder, options.folds, options.checkpoint) for folder in folders]
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
        predictor = Predictor(models, settings)
    may_lack = any(case.optional for case in case_set.cases)
    introduce(options, settings, models, predictor, may_lack=may_lack)
    say_cases(case_set, image_files(options))
    environment = settings.environment(predictor.hardware if predictor else {})
    output = _output(options, labels, settings.recorded(models), environment, _map_kinds(settings, models))
    reads = [*(model.folder for model in models), *_inputs(options)]
    with (
        chosen_executor(options, reads, [output.folder]) as executor,
        output.opened(models, case_set.cases, resume=options.resume, overwrite=options.overwrite),
    ):
        say_what_is_there(output, case_set.cases, options)
        if predictor:
            predicted = predict_cases(predictor, case_set, output, resume=options.resume)
        else:
            assert executor is not None  # of the scheduler
            predicted = predict_cases_on(executor, settings, case_set, output, resume=options.resume)
    conclude(predicted, output)


def _inputs(options: argparse.Namespace) -> list[Path]:
    """Return the folders or files that are given."""
    return options.inputs or list(image_files(options).values())


def _map_kinds(settings: "PredictionSettings", models: "list[Model]") -> tuple[str, ...]:
    """Return which maps are written; warn if there is nothing to compute a variance of: one fold, and no flips."""
    from nnunet_resunet_ds.uncertainty.maps import ENTROPY, VARIANCE

    if not settings.uncertainty:
        return ()
    if sum(len(model.weights) for model in models) * n_flips(models[0], settings) > 1:
        return ENTROPY, VARIANCE
    LOG.warning(
        "one fold without flips: nothing varies, so there is no map of variance, but of entropy alone; for both, leave "
        "out --no-tta, or give several folds (-f) or models (-m)"
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
    from nnunet_resunet_ds.base.files import FILE_ENDING
    from nnunet_resunet_ds.inference.output import CaseWriter, Output

    writer = CaseWriter(
        options.output.parent if _is_file(options.output) else options.output,
        labels,
        save_probabilities=options.save_probabilities,
        ending=_ending(options.output) or FILE_ENDING,
        map_kinds=map_kinds,
    )
    return Output(writer, settings, environment)


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


def _check_paths(options: argparse.Namespace) -> list[Path]:
    """Check what can be checked of the paths without anything heavy, and return the folders of the models.

    Raises:
        InputError: a path is missing, or is not of what it should be.
    """
    _check_output(options.output)
    if bool(image_files(options)) == bool(options.inputs):
        msg = f"give either folders with -i, or one case with {ALL_FLAGS}"
        raise InputError(msg)
    if options.inputs and _is_file(options.output):
        msg = f"{options.output}: cases of folders need a folder for -o"
        raise InputError(msg)
    check_folders(options.inputs or (), "-i")
    check_files([*image_files(options).values(), options.config, options.edition_file])
    _check_is_apart(options.output, options.inputs or ())
    folders = chosen_model_folders(options)
    for folder in folders:
        check_model_folder(folder)
    return folders


def _check_is_apart(output: Path, folders: Iterable[Path]) -> None:
    """Refuse to write label maps into a folder of images.

    Raises:
        InputError: the output is one of these folders.
    """
    for folder in folders:
        if output.resolve() == folder.resolve():
            msg = f"{output}: the images are there, and label maps would lie among them; give another folder with -o"
            raise InputError(msg)


def _case_set(options: argparse.Namespace, model: "Model") -> "CaseSet":
    from dataset_conversion.image_cases import common_name, find_prediction_cases, single_case

    if options.inputs:
        found = find_prediction_cases(
            options.inputs, model.channels, options.edition, options.edition_file, options.allow_missing
        )
        _check_is_apart(options.output, {file.parent for case in found.cases for file in case.files})
        return found
    files = image_files(options)
    if not _is_file(options.output):
        _check_is_apart(options.output, {file.parent for file in files.values()})
    name = options.output.name.removesuffix(_ending(options.output) or "")
    folder = next(iter(files.values())).resolve().parent
    case_id = name if _is_file(options.output) else common_name(files.values()) or folder.name or "case"
    return single_case(case_id, files, model.channels, options.allow_missing)


def _label_convention(options: argparse.Namespace, case_set: "CaseSet", model: "Model") -> "LabelConvention":
    from dataset_conversion.detect_edition import edition_by_case_ids
    from dataset_conversion.editions import NNUNET_KEY
    from dataset_conversion.label_conventions import LabelConvention, nnunet_convention

    if options.labels == NNUNET_KEY:
        return nnunet_convention(model.dataset_json)
    case_ids = [case.case_id for case in case_set.cases]
    file = options.edition_file if options.labels == "custom" else None
    try:
        return LabelConvention.of(edition_by_case_ids(options.labels, case_ids, file).edition)
    except InputError as error:
        msg = f"--labels {options.labels}: {error}".replace("--edition", "--labels")
        raise InputError(msg) from error
