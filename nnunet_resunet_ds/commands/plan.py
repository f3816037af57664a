r"""Write plans with a patch, network size or recipe of your own, next to the stock plans.

Not needed for the paper's setting: nnUNetv2_train -tr ResUNetDSTrainer takes the stock plans as they are and trains the
paper's network on them. What you set here is saved in the plans file, obeyed by the trainer and kept with the model.

With --pretrained the network is that of a trained model, and its weights are written next to the plans. Each fold that
is trained with these plans starts from them.

examples, a small network for a quick look, and a training that starts from the starter model:
  resunet-ds plan -d 137 --patch-size 64 64 64 --features 16 32 64 128 --epochs 20
  nnUNetv2_train 137 3d_fullres 0 -tr ResUNetDSTrainer -p nnUNetResUNetDSPlans

  nnUNetv2_plan_and_preprocess -d 137 -c 3d_fullres -overwrite_target_spacing 1.5 1.5 1.5 \
    -overwrite_plans_name PlansOfPretrained
  resunet-ds plan -d 137 -p PlansOfPretrained --pretrained starter --name FineTuned --lr 1e-3 --epochs 50
  nnUNetv2_train 137 3d_fullres 0 -tr ResUNetDSTrainer -p FineTuned
"""

import argparse

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.model_id import TRAINER
from nnunet_resunet_ds.commands.arguments import add_dataset_argument, add_patch_arguments, add_plans_arguments
from nnunet_resunet_ds.commands.model_arguments import model_folder
from nnunet_resunet_ds.models.starter import STARTER
from nnunet_resunet_ds.plans import MAX_HEADS, PAPER_FEATURES
from nnunet_resunet_ds.training.planning.plan_writing import DEFAULT_NAME, plan
from nnunet_resunet_ds.training.planning.recipe_flags import add_recipe_arguments, chosen_recipe

SUMMARY = "write plans with your own patch, network size or recipe (optional)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    add_dataset_argument(parser)
    add_plans_arguments(parser, " to start from")
    parser.add_argument("--name", default=DEFAULT_NAME, help="name of the new plans (default: %(default)s)")
    parser.add_argument(
        "--pretrained",
        type=model_folder,
        metavar="MODEL",
        help=f"train on from this model: {STARTER}, or a model folder, TRAINER__PLANS__CONFIGURATION",
    )
    network = parser.add_argument_group("network (defaults: the paper's)")
    add_patch_arguments(network, "128 128 128, the stock patch for small images, or that of --pretrained")
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
    (_plan_fine_tuning if options.pretrained else _plan)(options)


def _plan_fine_tuning(options: argparse.Namespace) -> None:
    """Write plans and weights, after a check that nothing else is asked of the network."""
    from nnunet_resunet_ds.models.starter import STARTER_FOLDER
    from nnunet_resunet_ds.training.planning.fine_tuning import PLANS_OF_THEIR_SPACING, plan_fine_tuning

    given = [flag for flag, is_usual in _network_flags(options).items() if not is_usual]
    if given:
        msg = f"{', '.join(given)}: the network is that of the pretrained model; leave this out, or --pretrained"
        raise InputError(msg)
    tuning = plan_fine_tuning(
        options.dataset_id,
        options.pretrained,
        stock_name=options.plans,
        name=options.name,
        configuration=options.configuration,
        patch_size=options.patch_size,
        batch_size=options.batch_size,
        recipe=chosen_recipe(options),
        called="the starter model" if options.pretrained == STARTER_FOLDER else None,
    )
    print(*tuning.notes, f"wrote {tuning.plans} and {tuning.weights}", sep="\n")
    if tuning.preprocess:
        print(f"next, for their voxel size: {tuning.preprocess}")
        print(f"then: this command again, with -p {PLANS_OF_THEIR_SPACING}")
        print(f"or train on the data as it is: {_training_command(options)}")
    else:
        print(f"next: {_training_command(options)}")
    print(f"each fold starts from these weights; all folds: resunet-ds train -d {options.dataset_id} -p {options.name}")


def _network_flags(options: argparse.Namespace) -> dict[str, bool]:
    """Return the flags that choose the network, and whether each has its default."""
    return {
        "--features": options.features == PAPER_FEATURES,
        "--heads": options.heads == MAX_HEADS,
        "--no-salient-channel": not options.no_salient_channel,
        "--no-residual": not options.no_residual,
    }


def _training_command(options: argparse.Namespace) -> str:
    from nnunet_resunet_ds.compute.device import chosen_device

    words = f"nnUNetv2_train {options.dataset_id} {options.configuration} 0 -tr {TRAINER} -p {options.name}"
    device = chosen_device(None).type
    return words if device == "cuda" else f"{words} -device {device}"  # nnU-Net takes a GPU, unless told otherwise


def _plan(options: argparse.Namespace) -> None:
    path, adapted = plan(
        options.dataset_id,
        name=options.name,
        stock_name=options.plans,
        configuration=options.configuration,
        patch_size=options.patch_size,
        batch_size=options.batch_size,
        features_per_stage=options.features,
        n_heads=options.heads,
        salient_channel=not options.no_salient_channel,
        residual=not options.no_residual,
        recipe=chosen_recipe(options),
    )
    print(*adapted.notes, f"wrote {path}", f"next: {_training_command(options)}", sep="\n")
