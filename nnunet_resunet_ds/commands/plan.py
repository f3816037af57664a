"""Write plans with a patch, network size or recipe of your own, next to the stock plans.

Not needed for the paper's setting: nnUNetv2_train -tr ResUNetDSTrainer takes the stock plans as they are and trains the
paper's network on them. What you set here is saved in the plans file, obeyed by the trainer and kept with the model.

example, a small network for a quick look:
  resunet-ds plan -d 137 --patch-size 64 64 64 --features 16 32 64 128 --epochs 20
  nnUNetv2_train 137 3d_fullres 0 -tr ResUNetDSTrainer -p nnUNetResUNetDSPlans
"""

import argparse

from nnunet_resunet_ds.base.model_id import CONFIGURATION, PLANS, TRAINER
from nnunet_resunet_ds.commands.arguments import dataset_id
from nnunet_resunet_ds.plans import MAX_HEADS, PAPER_BATCH_SIZE, PAPER_FEATURES
from nnunet_resunet_ds.training.plan_writing import DEFAULT_NAME, plan
from nnunet_resunet_ds.training.recipe import add_recipe_arguments, chosen_recipe

SUMMARY = "plans with your own patch, network size or recipe (optional)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("-d", dest="dataset_id", type=dataset_id, required=True, metavar="ID", help="number or name")
    parser.add_argument("-c", dest="configuration", default=CONFIGURATION, help="configuration (default: %(default)s)")
    parser.add_argument(
        "-p", dest="stock_name", default=PLANS, metavar="PLANS", help="plans to start from (default: %(default)s)"
    )
    parser.add_argument("--name", default=DEFAULT_NAME, help="name of the new plans (default: %(default)s)")
    network = parser.add_argument_group("network (defaults: the paper's)")
    network.add_argument(
        "--patch-size",
        type=int,
        nargs=3,
        metavar=("Z", "Y", "X"),
        help="voxels (default: 128 128 128, or the stock patch for small images)",
    )
    network.add_argument(
        "--batch-size", type=int, default=PAPER_BATCH_SIZE, metavar="N", help="patches a step (default: %(default)s)"
    )
    network.add_argument(
        "--features",
        type=int,
        nargs="+",
        default=PAPER_FEATURES,
        metavar="N",
        help=f"channels a stage (default: {' '.join(map(str, PAPER_FEATURES))})",
    )
    network.add_argument("--heads", type=int, default=MAX_HEADS, metavar="N", help="outputs (default: %(default)s)")
    network.add_argument(
        "--no-salient-channel",
        action="store_true",
        help="do not give the network the brain mask (it gets none anyway where images are not skull-stripped)",
    )
    network.add_argument("--no-residual", action="store_true", help="plain blocks instead of residual ones")
    add_recipe_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Write the plans and say what was chosen."""
    path, adapted = plan(
        options.dataset_id,
        name=options.name,
        stock_name=options.stock_name,
        configuration=options.configuration,
        patch_size=options.patch_size,
        batch_size=options.batch_size,
        features_per_stage=options.features,
        n_heads=options.heads,
        salient_channel=not options.no_salient_channel,
        residual=not options.no_residual,
        recipe=chosen_recipe(options),
    )
    for note in adapted.notes:
        print(note)
    train = f"nnUNetv2_train {options.dataset_id} {options.configuration} 0 -tr {TRAINER} -p {options.name}"
    print(f"wrote {path}\nnext: {train}")
