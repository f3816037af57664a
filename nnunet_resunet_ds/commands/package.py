"""Put a trained model into one file, to be shared: weights, plans, post-processing, and a card that says what it is.

Weights are stored as safetensors, number for number, which nothing can turn into code; each file has its digest. The
card is made of what training and validation left, and of what you say of licence, citations and limits. Install it with
resunet-ds install. With --nnunet, the file is one that nnUNetv2_install_pretrained_model_from_zip reads, too.

Examples:
  resunet-ds package -d 137 -o model.zip --licence "CC BY 4.0" --cite "Baid et al. 2021, arXiv 2107.02314"
  resunet-ds package -d 137 -f 0 -o model.zip --metrics metrics.json
  resunet-ds package -d 137 -o model.zip --nnunet
"""

import argparse
from pathlib import Path
from shlex import quote

from nnunet_resunet_ds.commands.model_arguments import add_model_choice_arguments, chosen_model_folder

SUMMARY = "put a trained model into one file, with its card and digests"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="ZIP", help="file to write, .zip")
    add_model_choice_arguments(parser.add_argument_group("model"), several=False)
    card = parser.add_argument_group("card")
    card.add_argument("--licence", metavar="TEXT", help="of data and weights")
    card.add_argument("--cite", action="append", default=[], metavar="TEXT", help="what to cite; may be repeated")
    card.add_argument(
        "--metrics",
        type=Path,
        metavar="JSON",
        help="what resunet-ds evaluate wrote about cases that the model had not seen (default: nnU-Net's validation)",
    )
    card.add_argument(
        "--limit", action="append", default=[], metavar="TEXT", help="for what it is not made; may be repeated"
    )
    card.add_argument(
        "--case-ids",
        action="store_true",
        help="name the training cases, so that prediction can warn of them (default: leave their names out)",
    )
    parser.add_argument(
        "--nnunet",
        action="store_true",
        help="as nnU-Net's own zip: with checkpoints, which name the cases and which stock nnU-Net reads unchecked",
    )


def run(options: argparse.Namespace) -> None:
    """Write the file and say what is in it."""
    from nnunet_resunet_ds.base.files import check_output_file
    from nnunet_resunet_ds.inference.load_model import load_model
    from nnunet_resunet_ds.models.card_of_model import NOT_SAID, card_of_model
    from nnunet_resunet_ds.models.package import package

    check_output_file(options.output, ".zip")
    model = load_model(chosen_model_folder(options, "a file holds one"), options.folds, options.checkpoint)
    card = card_of_model(
        model,
        licence=options.licence,
        citations=options.cite,
        metrics=options.metrics,
        limits=options.limit,
        case_ids=options.case_ids,
    )
    if any(source.licence == NOT_SAID for source in card.sources):
        print("warning: the card does not say under which licence the data and weights are; say it with --licence")
    replaced = " in place of the earlier file" if options.output.exists() else ""
    package(model, card, options.output, for_nnunet=options.nnunet, case_ids=options.case_ids)
    size = options.output.stat().st_size / 1e6
    command = "nnUNetv2_install_pretrained_model_from_zip" if options.nnunet else "resunet-ds install"
    print(card.headline)
    print(f"wrote {options.output}{replaced}, {size:.1f} MB; install it: {command} {quote(str(options.output))}")
