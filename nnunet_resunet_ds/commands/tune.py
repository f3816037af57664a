"""Search the post-processing that scores best on cross-validation: thresholds, and the numbers of all steps.

Predicts the validation cases of every trained fold with that fold's weights (kept in the folder "tuning" of the model,
so that the next search starts at once), then changes one number at a time for as long as that helps. What counts is
--metric, by the rules of the dataset's regions or, with --protocol, of a challenge. For each fold, the gain is shown
with settings tuned on the other folds: that is what to expect on new cases. Where it is not larger than its spread, the
paper's settings stay, or nnU-Net's 0.5 without WT, TC and ET. The result goes into the model's postprocessing.json and
plans.json, where "resunet-ds predict" and "postprocess" find it. From the same cases it learns which Dice to expect of
a prediction: see docs/understand/uncertainty.md.

Examples:
  resunet-ds tune -d 137
  resunet-ds tune -d 137 --metric lesion-dice
  resunet-ds tune -d 137 --metric nsd --protocol brats2025-gli
  resunet-ds tune -m MODEL_FOLDER --npz
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from nnunet_resunet_ds.commands.executor_arguments import add_executor_arguments, chosen_executor
from nnunet_resunet_ds.commands.json_answer import add_json_argument, answer
from nnunet_resunet_ds.commands.model_arguments import add_model_arguments, chosen_model_with_cases, chosen_settings

SUMMARY = "find the post-processing that fits a model, by cross-validation"
FEW_CASES = 10
"""Fewer say little about a gain."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument(
        "--metric",
        choices=("dice", "lesion-dice", "hd95", "nsd", "f1"),
        default="dice",
        help="mean over the regions: Dice, lesion-wise Dice, HD95 in mm (less is better), normalised surface Dice at "
        "the first tolerance of the protocol, or F1 of found lesions (default: %(default)s)",
    )
    parser.add_argument(
        "--protocol",
        help="rules and regions of a challenge, as resunet-ds evaluate has them (default: for dice and lesion-dice the "
        "regions of the dataset, where an empty region scores 1 for an empty prediction and 0 else; for the others "
        "brats2023-gli)",
    )
    parser.add_argument(
        "--npz",
        action="store_true",
        help="take the probabilities of nnUNetv2_train … --npz, averages of logits, instead of predicting",
    )
    add_model_arguments(parser, several=False, needs_training_cases=True)
    add_executor_arguments(parser, takes_threads=False)
    add_json_argument(parser)


def run(options: argparse.Namespace) -> None:
    """Tune, write and say what came of it."""
    from nnunet_resunet_ds.base.locks import only_writer
    from nnunet_resunet_ds.base.nnunet_folders import NNUNET_FOLDERS
    from nnunet_resunet_ds.inference.load_model import checkpoint_files
    from nnunet_resunet_ds.inference.model import ModelFiles
    from nnunet_resunet_ds.training.checkpoint.checkpoint_names import checkpoint_name
    from nnunet_resunet_ds.tuning.learn_from_stored import learnt_lines
    from nnunet_resunet_ds.tuning.outcome import gain_content, gain_lines
    from nnunet_resunet_ds.tuning.tune_model import PICTURE, TABLE, tune_model
    from postprocessing.model_config import SETTINGS_FILE

    folder = chosen_model_with_cases(options, "post-processing is tuned for one")
    name = checkpoint_name(folder, options.checkpoint)
    model = ModelFiles(folder, tuple(checkpoint_files(folder, options.folds, name)), name)
    settings = chosen_settings(options, [model])
    reads = [Path(os.environ[variable]) for variable in NNUNET_FOLDERS if os.environ.get(variable)]
    with only_writer(folder), chosen_executor(options, reads, [folder]) as executor:
        tuned = tune_model(settings, options.metric, protocol=options.protocol, from_npz=options.npz, executor=executor)
    for warning in _warnings(folder, model.folds, sum(part.n_cases for part in tuned.tuning.parts)):
        print(f"warning: {warning}")
    answer(
        options,
        {
            "model": folder,
            **gain_content(tuned.tuning, tuned.metric),
            "expected_dice": tuned.expected_dice.to_mapping(),
            "files": [folder / name for name in (SETTINGS_FILE, TABLE, PICTURE)],
        },
    )
    print("", *gain_lines(tuned.tuning, tuned.metric), "", *learnt_lines(tuned.expected_dice), "", sep="\n")
    print(f"wrote {folder / SETTINGS_FILE}; the search is in {TABLE} and {PICTURE} there")


def _warnings(folder: Path, folds: Sequence[str], n_cases: int) -> Iterator[str]:
    """Say why the gain may be less on other cases than it looks."""
    from nnunet_resunet_ds.base.files import read_json
    from nnunet_resunet_ds.base.nnunet_folders import PLANS_JSON
    from nnunet_resunet_ds.models.validation import n_seen_before
    from nnunet_resunet_ds.training.checkpoint.pretrained import pretrained_of

    pretrained = pretrained_of(read_json(folder / PLANS_JSON))
    seen = n_seen_before(folder, pretrained, folds)
    if pretrained is not None and seen:
        yield (
            f"{seen} of the {n_cases} cases were seen by {pretrained.model}, where the training started from: they are "
            "not held out, and the gain on new cases may be another"
        )
    if n_cases < FEW_CASES:
        yield f"{n_cases} cases are few: such a gain may be chance; train and validate more folds"
