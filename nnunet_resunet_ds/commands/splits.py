"""Write splits_final.json: cross-validation folds, or one hold-out split, before or after preprocessing.

All time points of a patient are in one fold, and cases with enhancing tumour are spread evenly. Without this, nnU-Net
makes five folds of its own that know nothing of patients.

Example:
  resunet-ds splits -d 137 --folds 5
"""

import argparse

from nnunet_resunet_ds.commands.arguments import dataset_id

SUMMARY = "folds with patients kept together (optional)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("-d", dest="dataset_id", type=dataset_id, required=True, metavar="ID", help="number or name")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--folds", type=int, default=5, metavar="N", help="of the cross-validation (default: %(default)s)"
    )
    kind.add_argument("--holdout", type=float, metavar="SHARE", help="one split with this share held out, such as 0.2")
    parser.add_argument("--seed", type=int, default=12345, help="of the shuffle (default: %(default)s, nnU-Net's)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")


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
    print("fold  train cases  validation cases  patients  with ET")
    for number, fold in enumerate(folds):
        patients = len({case.patient for case in fold.val})
        enhancing = sum(case.enhancing for case in fold.val)
        print(f"{number:4}  {len(fold.train):11}  {len(fold.val):16}  {patients:8}  {enhancing:7}")
    print(f"(patients and cases with enhancing tumour are of the validation side)\nwrote {', '.join(map(str, files))}")
