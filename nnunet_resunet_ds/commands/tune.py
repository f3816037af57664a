"""Search the post-processing that scores best on cross-validation: thresholds, component sizes and probabilities.

Predicts the validation cases of every trained fold with that fold's weights (kept in the folder "tuning" of the model,
so that the next search starts at once), then changes one number at a time for as long as that helps. For each fold, the
gain is shown with settings tuned on the other folds: that is what to expect on new cases. Where it is not larger than
its spread, the paper's settings stay. The result goes into the model's postprocessing.json and plans.json, where
"resunet-ds predict" and "postprocess" find it.

Examples:
  resunet-ds tune -d 137
  resunet-ds tune -d 137 --metric lesion-dice
  resunet-ds tune -m MODEL_FOLDER --npz
"""

import argparse
import os
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.commands.arguments import add_model_arguments, chosen_model_folders, chosen_settings
from nnunet_resunet_ds.commands.executor_arguments import add_executor_arguments, chosen_executor

if TYPE_CHECKING:
    from nnunet_resunet_ds.tuning.gain import Tuning
    from postprocessing.config import PostprocessingConfig

SUMMARY = "post-processing that fits a model, by cross-validation"
TABLE, PICTURE = "tuning.csv", "tuning.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument(
        "--metric",
        choices=("dice", "lesion-dice"),
        default="dice",
        help="mean over WT, TC and ET, where an empty region scores 1 for an empty prediction and 0 else "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--npz",
        action="store_true",
        help="take the probabilities of nnUNetv2_train … --npz, averages of logits, instead of predicting",
    )
    add_model_arguments(parser, several=False)
    add_executor_arguments(parser, takes_threads=False)


def run(options: argparse.Namespace) -> None:
    """Tune, write and say what came of it."""
    from nnunet_resunet_ds.base.locks import only_writer
    from nnunet_resunet_ds.base.nnunet_folders import NNUNET_FOLDERS

    folders = chosen_model_folders(options)
    if len(folders) > 1:
        msg = "give one model with -m: post-processing is tuned for one"
        raise InputError(msg)
    (folder,) = folders
    _check_regions(folder)
    reads = [Path(os.environ[variable]) for variable in NNUNET_FOLDERS if os.environ.get(variable)]
    with only_writer(folder), chosen_executor(options, reads, [folder]) as executor:
        _tune(folder, options, executor)


def _tune(folder: Path, options: argparse.Namespace, executor: Executor | None) -> None:
    from tqdm import tqdm

    from nnunet_resunet_ds.inference.model import checkpoint_files
    from nnunet_resunet_ds.tuning.cross_validation import weights_tuned_on
    from nnunet_resunet_ds.tuning.gain import parts_of, tune, write_picture, write_table
    from nnunet_resunet_ds.tuning.scores import Scores, check_above_floor
    from nnunet_resunet_ds.tuning.search import GRID
    from postprocessing.model_config import SETTINGS, keep_with_model

    checkpoints = checkpoint_files(folder, options.folds, options.checkpoint)
    files, averaging = _stored_cases(folder, checkpoints, options, executor)
    cases = [file for of_fold in files.values() for file in of_fold]
    parts = parts_of([fold for fold, of_fold in files.items() for _ in of_fold])
    _check_enough(folder, parts)
    n_searches = len(set(parts)) + 1
    with tqdm(desc="search", unit="setting", total=n_searches * sum(map(len, GRID.values()))) as bar:
        scores = Scores(cases, options.metric, bar.update, executor)
        tuning = tune(scores, parts, averaging, weights_tuned_on(checkpoints))
        check_above_floor(cases, tuning.best)
        write_picture(scores, tuning, options.metric, folder / PICTURE)
        bar.total = bar.n  # searches go more than once over the numbers, but meet settings scored before
    write_table(scores, folder / TABLE)
    keep_with_model(tuning.chosen, folder)
    _conclude(tuning, options.metric)
    print(f"wrote {folder / SETTINGS}; the search is in {TABLE} and {PICTURE} there")


def _stored_cases(
    folder: Path, checkpoints: dict[str, Path], options: argparse.Namespace, executor: Executor | None
) -> tuple[dict[str, list[Path]], str]:
    """Return the stored cases of each fold, and what their probabilities are an average of."""
    from nnunet_resunet_ds.inference.model import ModelFiles
    from nnunet_resunet_ds.tuning.cross_validation import predict_validation, stored_validation_npz, validation_ids

    ids = validation_ids(folder, checkpoints)
    if options.npz:
        return stored_validation_npz(folder, ids, executor), "logits"
    settings = chosen_settings(options, [ModelFiles(folder, tuple(checkpoints), options.checkpoint)])
    return predict_validation(settings, ids, executor), "probabilities"


def _check_regions(folder: Path) -> None:
    from nnunet_resunet_ds.base.files import read_json
    from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON
    from nnunet_resunet_ds.base.region_checks import check_regions
    from postprocessing.model_config import has_region_inside_wt

    dataset_json = read_json(folder / DATASET_JSON)
    check_regions(dataset_json)
    if has_region_inside_wt(dataset_json):
        msg = (
            f"{folder}: a further region of the model is part of WT, which tuning would score without it; not supported"
        )
        raise InputError(msg)


def _check_enough(folder: Path, parts: list[str]) -> None:
    if len(set(parts)) < 2:
        msg = f"{folder}: one validation case is not enough to tune on; train more folds"
        raise InputError(msg)


def _conclude(tuning: "Tuning", metric: str) -> None:
    print(
        f"\nmean {metric} of held-out cases\n{'fold':12}{'cases':>6}{'paper':>9}{'tuned on the others':>21}{'gain':>10}"
    )
    for part in tuning.parts:
        print(f"{part.name:12}{part.n_cases:6}{part.paper:9.4f}{part.tuned:21.4f}{part.gain:+10.4f}")
    print(f"mean gain {tuning.gain:+.4f}, spread {tuning.spread:.4f}")
    changed = _differences(tuning.best)
    if tuning.is_worth_it:
        print(f"tuned on all cases: {changed}")
    else:
        print(f"the gain is not larger than its spread, so the paper's settings stay (best on all cases: {changed})")


def _differences(config: "PostprocessingConfig") -> str:
    from nnunet_resunet_ds.tuning.search import GRID
    from postprocessing.config import PostprocessingConfig

    paper = PostprocessingConfig.paper()
    changes = [
        f"{name} {getattr(paper, name):g} → {getattr(config, name):g}"
        for name in GRID
        if getattr(config, name) != getattr(paper, name)
    ]
    return ", ".join(changes) or "the paper's"
