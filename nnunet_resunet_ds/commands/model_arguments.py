"""The arguments of every subcommand that takes a trained model, by nnU-Net's letters."""

import argparse
from pathlib import Path

from nnunet_resunet_ds.commands.dataset_argument import dataset_id
from nnunet_resunet_ds.training.recipe import AUTO, PRECISIONS


def add_model_arguments(parser: argparse.ArgumentParser, *, several: bool) -> None:
    """Add them.

    Args:
        parser: of the subcommand.
        several: whether ``-m`` can be given more than once.
    """
    group = parser.add_argument_group("model")
    which = group.add_mutually_exclusive_group(required=True)
    which.add_argument("-d", dest="dataset_id", type=dataset_id, metavar="ID", help="dataset that it was trained on")
    which.add_argument(
        "-m",
        dest="model_folders",
        type=Path,
        action="append",
        metavar="FOLDER",
        help="its folder, TRAINER__PLANS__CONFIGURATION" + ("; again for an ensemble" if several else ""),
    )
    group.add_argument("-tr", dest="trainer", default="ResUNetDSTrainer", metavar="NAME", help="(default: %(default)s)")
    group.add_argument("-p", dest="plans", metavar="PLANS", help="(default: those of the one model that is there)")
    group.add_argument("-c", dest="configuration", default="3d_fullres", metavar="NAME", help="(default: %(default)s)")
    group.add_argument("-f", dest="folds", nargs="+", metavar="FOLD", help="(default: every fold that is trained)")
    group.add_argument(
        "-chk", dest="checkpoint", default="checkpoint_final.pth", metavar="FILE", help="(default: %(default)s)"
    )
    group.add_argument("-device", choices=("cpu", "cuda", "mps"), help="(default: cuda where there is a GPU)")
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=AUTO,
        help="of convolutions (default: auto, fp16 on a GPU and bf16 on a CPU that is faster in it)",
    )
    group.add_argument("--no-tta", action="store_true", help="no flips: an eighth of the time, not what the paper does")


def chosen_model_folders(options: argparse.Namespace) -> list[Path]:
    """Return the folders that the arguments name.

    Raises:
        InputError: no such model.
    """
    from nnunet_resunet_ds.inference.model_folders import model_folder

    if options.model_folders:
        return list(options.model_folders)
    return [model_folder(options.dataset_id, options.trainer, options.configuration, options.plans)]
