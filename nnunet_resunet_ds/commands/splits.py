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

from nnunet_resunet_ds.commands.arguments import add_dataset_argument
from nnunet_resunet_ds.commands.json_answer import add_json_argument, answer

if TYPE_CHECKING:
    from dataset_conversion.splits import Fold

SUMMARY = "make folds that keep the cases of a patient together (optional)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    add_dataset_argument(parser)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--folds", type=int, default=5, metavar="N", help="number of folds (default: %(default)s)")
    kind.add_argument(
        "--holdout",
        type=float,
        metavar="SHARE",
        help="make one split instead, and hold out this share of the cases, such as 0.2",
    )
    parser.add_argument("--seed", type=int, default=12345, help="random seed (default: %(default)s, as in nnU-Net)")
    add_json_argument(parser)
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
    answer(options, {"files": files, "folds": list(map(_content, folds))})
    for line in _table(folds):
        print(line)
    print(f"wrote {', '.join(map(str, files))}")


def _content(fold: "Fold") -> dict[str, object]:
    """Return a fold for programs; cases with ET are those of the validation, null where nothing labels it."""
    return {
        "train": [case.case_id for case in fold.train],
        "val": [case.case_id for case in fold.val],
        "val_patients": sorted({case.patient for case in fold.val}),
        "val_with_et": [case.case_id for case in fold.val if case.enhancing] if _labels_et([fold]) else None,
    }


def _labels_et(folds: "Sequence[Fold]") -> bool:
    return all(case.enhancing is not None for fold in folds for case in fold.val)


def _table(folds: "Sequence[Fold]") -> "Iterator[str]":
    """Yield the lines of the fold table; cases with ET are counted where the dataset labels it."""
    with_et = _labels_et(folds)
    yield "fold  train cases  validation cases  patients" + ("  with ET" if with_et else "")
    for number, fold in enumerate(folds):
        patients = len({case.patient for case in fold.val})
        enhancing = f"  {sum(bool(case.enhancing) for case in fold.val):7}" if with_et else ""
        yield f"{number:4}  {len(fold.train):11}  {len(fold.val):16}  {patients:8}{enhancing}"
    counted = "patients and cases with enhancing tumour" if with_et else "patients"
    yield f"({counted} are counted among the validation cases)"
