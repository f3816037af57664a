"""Average the weights of the last epochs of a training, and keep the mean where it does not lose on validation.

The training must have kept them: write plans with "resunet-ds plan --keep-weights 5" and train with these. Of each
fold, the validation cases are predicted with checkpoint_final.pth and with the mean. Where the mean Dice over the
cases of all folds is not lower, checkpoint_averaged.pth is written into each fold, for -chk of "resunet-ds predict"
and "tune" and of nnUNetv2_predict. Where it is lower, nothing is written, and a line says so.

Examples:
  resunet-ds average-weights -d 137 -p nnUNetResUNetDSPlans
  resunet-ds average-weights -d 137 -p nnUNetResUNetDSPlans -f 0 --last 3
  resunet-ds predict -i IMAGES -o LABELS -d 137 -p nnUNetResUNetDSPlans -chk checkpoint_averaged.pth
"""

import argparse

from nnunet_resunet_ds.base.setting_checks import check_whole_number
from nnunet_resunet_ds.commands.json_answer import add_json_argument, answer
from nnunet_resunet_ds.commands.model_arguments import add_model_arguments, chosen_model_with_cases, chosen_settings

SUMMARY = "average the weights of the last epochs, and keep the mean if validation is not worse"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument(
        "--last", type=int, metavar="N", help="how many of the last epochs (default: all whose weights are kept)"
    )
    parser.add_argument(
        "--keep-anyway", action="store_true", help="write the averaged weights also where they lose on validation"
    )
    add_model_arguments(parser, several=False, needs_training_cases=True, takes_checkpoint=False)
    add_json_argument(parser)


def run(options: argparse.Namespace) -> None:
    """Average, compare, write and say what came of it."""
    from nnunet_resunet_ds.base.locks import only_writer
    from nnunet_resunet_ds.inference.load_model import checkpoint_files
    from nnunet_resunet_ds.inference.model import ModelFiles
    from nnunet_resunet_ds.training.checkpoint.checkpoint_names import FINAL
    from nnunet_resunet_ds.tuning.average_model import average_model, averaging_content, averaging_lines

    if options.last is not None:
        check_whole_number("--last", options.last, at_least=1)
    folder = chosen_model_with_cases(options, "weights are averaged within one")
    model = ModelFiles(folder, tuple(checkpoint_files(folder, options.folds, FINAL)))
    with only_writer(folder):
        averaging = average_model(chosen_settings(options, [model]), options.last, keep_anyway=options.keep_anyway)
    answer(options, averaging_content(averaging))
    print("", *averaging_lines(averaging), sep="\n")
