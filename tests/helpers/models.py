"""Model folders as training leaves them, with random weights, for the tests of prediction."""

import json
from copy import deepcopy

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.training.planning.adapted_plans import with_res_unet_ds

STOCK_ARCHITECTURE = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 3,
        "features_per_stage": [4, 8, 12],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * 3,
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}


def small_plans(plans, patch_size=(16, 16, 16)):
    return with_res_unet_ds(plans, "3d_fullres", patch_size=patch_size, features_per_stage=(4, 8, 12)).plans


def stock_plans(plans):
    plans = deepcopy(plans)
    plans["configurations"]["3d_fullres"] |= {"patch_size": [16, 16, 16], "architecture": STOCK_ARCHITECTURE}
    return plans


def write_model(folder, plans, dataset_json, folds=(0,), trainer="ResUNetDSTrainer", checkpoint="checkpoint_final.pth"):
    """Write what prediction reads: plans, dataset.json and a checkpoint a fold, each with weights of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset_json))
    configuration = plans["configurations"]["3d_fullres"]
    architecture = configuration["architecture"]
    for fold in folds:
        torch.manual_seed(hash(fold) % 1000)
        network = get_network_from_plans(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            len(dataset_json["channel_names"]),
            len(dataset_json["regions_class_order"]),
            deep_supervision=True,
        )
        (folder / f"fold_{fold}").mkdir(exist_ok=True)
        content = {
            "network_weights": network.state_dict(),
            "trainer_name": trainer,
            "init_args": {"configuration": "3d_fullres"},
            "inference_allowed_mirroring_axes": (0, 1, 2),
        }
        torch.save(content, folder / f"fold_{fold}" / checkpoint)
    return folder


def predict(inputs, output, model, *flags):
    """Run the command without flips, and return its exit code."""
    return main(["predict", "-i", str(inputs), "-o", str(output), "-m", str(model), "--no-tta", *flags])
