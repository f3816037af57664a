"""Write the bare network as ONNX, for programs that do not run PyTorch.

The graph takes a preprocessed patch (batch, channel, z, y, x) and returns the logits of the finest head; any number of
patches at once. The network makes its brain mask itself, inside the graph. NAME.json next to NAME.onnx has what another
runtime needs: channels, spacing, normalisation, patch size, regions, thresholds, label values. Each file is compared
with PyTorch in onnxruntime on the CPU before it gets its name. Where a probability differs by 0.001 or more, nothing is
written. With several folds there is a file for each: NAME_fold_0.onnx. Needs: pip install 'nnunet-resunet-ds[export]'.

Examples:
  resunet-ds export --onnx model.onnx -d 137 -f 0
  resunet-ds export --onnx out/model.onnx -m MODEL_FOLDER
"""

import argparse
from pathlib import Path

from nnunet_resunet_ds.commands.model_arguments import add_model_choice_arguments, chosen_model_folder

SUMMARY = "write the bare network as ONNX, and a JSON of all that belongs around it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("--onnx", type=Path, required=True, metavar="NAME.onnx", help="file to write")
    add_model_choice_arguments(parser.add_argument_group("model"), several=False)


def run(options: argparse.Namespace) -> None:
    """Export, and say what was written and how far it is from PyTorch."""
    from nnunet_resunet_ds.export.export_model import check_export, export_model
    from nnunet_resunet_ds.inference.load_model import load_model

    check_export(options.onnx)
    folder = chosen_model_folder(options, "each is exported on its own")
    exported = export_model(load_model(folder, options.folds, options.checkpoint), options.onnx)
    for file in exported.files:
        print(f"wrote {file} ({file.stat().st_size / 2**20:.1f} MiB)")
    print(f"wrote {exported.description}: what belongs around the network")
    print(f"onnxruntime and PyTorch differ by at most {exported.max_difference:.1g} in a probability")
