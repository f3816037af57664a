"""Install a model from one file below $nnUNet_results, where resunet-ds predict and nnUNetv2_predict find it.

Takes what resunet-ds package wrote, whose digests are checked, and nnU-Net's own zip. Every file is read as prediction
reads it, weights and plain values alone, before anything is put in its place: what could run code is refused.

Example:
  resunet-ds install model.zip
"""

import argparse
from pathlib import Path
from shlex import quote

SUMMARY = "check a model from one file, and put it where prediction finds it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("archive", type=Path, metavar="ZIP", help="of resunet-ds package, or nnU-Net's own")
    parser.add_argument("--overwrite", action="store_true", help="replace a model of the same name")


def run(options: argparse.Namespace) -> None:
    """Install, and say how to predict with it."""
    from nnunet_resunet_ds.base.nnunet_folders import nnunet_folder
    from nnunet_resunet_ds.models.card import read_card
    from nnunet_resunet_ds.models.install import install

    for folder in install(options.archive, nnunet_folder("nnUNet_results"), overwrite=options.overwrite):
        card = read_card(folder)
        if card:
            print(card.headline)
        print(f"installed {folder}; predict with it: resunet-ds predict -i IMAGES -o LABELS -m {quote(str(folder))}")
