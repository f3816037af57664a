"""Write splits_final.json: folds for cross-validation, or one hold-out split.

All time points of a patient are in one fold. Cases with enhancing tumour are spread evenly, where the dataset labels
it. Without this file, nnU-Net makes five folds and does not keep patients together. You can run the command before or
after preprocessing.

Examples:
  resunet-ds splits -d 137 --folds 5
  resunet-ds splits -d 137 --holdout 0.2
"""

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nnunet_resunet_ds.commands.arguments import dataset_id

if TYPE_CHECKING:
    from dataset_conversion.splits import Fold

SUMMARY = "make folds that keep the cases of a patient together (optional)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument(
        "-d", dest="dataset_id", type=dataset_id, required=True, metavar="ID", help="dataset number or name"
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--folds", type=int, default=5, metavar="N", help="number of folds (default: %(default)s)")
    kind.add_argument(
        "--holdout",
        type=float,
        metavar="SHARE",
        help="make one split instead, and hold out this share of the cases, such as 0.2",
    )
    parser.add_argument("--seed", type=int, default=12345, help="random seed (default: %(default)s, as in nnU-Net)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing splits_final.json")


def run(options: argparse.Namespace) -> None:
    """Write the file and print the fold table."""
    from dataset_conversion.splits import write_splits

    files, folds = write_splits(
        options.dataset_id,
        folds=options.folds,
        holdout=options.holdout,
        seed=options.seed,
        overwrite=options.overwrite,
    )
    for line in _table(folds):
        print(line)
    print(f"wrote {', '.join(map(str, files))}")


def _table(folds: "Sequence[Fold]") -> "Iterator[str]":
    """Yield the lines of the fold table; cases with ET are counted where the dataset labels it."""
    with_et = all(case.enhancing is not None for fold in folds for case in fold.val)
    yield "fold  train cases  validation cases  patients" + ("  with ET" if with_et else "")
    for number, fold in enumerate(folds):
        patients = len({case.patient for case in fold.val})
        enhancing = f"  {sum(bool(case.enhancing) for case in fold.val):7}" if with_et else ""
        yield f"{number:4}  {len(fold.train):11}  {len(fold.val):16}  {patients:8}{enhancing}"
    counted = "patients and cases with enhancing tumour" if with_et else "patients"
    yield f"({counted} are counted among the validation cases)"
