"""Make an nnU-Net raw dataset from BraTS folders.

Finds the cases below each INPUT by their file names (CASE_t1ce.nii.gz until 2021, CASE-t1c.nii.gz since 2023), checks
all of them, and writes $nnUNet_raw/DatasetXXX_NAME. An INPUT in which no case has a segmentation becomes imagesTs.

Example:
  resunet-ds convert /data/BraTS2021_train /data/BraTS2021_val -d 137
"""

import argparse
from pathlib import Path

SUMMARY = "raw BraTS folders → nnU-Net raw dataset"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="folder to search, at any depth")
    parser.add_argument("-d", dest="dataset_id", type=int, required=True, metavar="ID", help="dataset ID, 1 to 999")
    parser.add_argument("-n", dest="name", help="dataset name after DatasetXXX_ (default: the edition's)")
    parser.add_argument(
        "--edition", default="auto", help="auto, a year, or one such as 2021 or 2024-gli (default: auto)"
    )
    parser.add_argument("--copy", action="store_true", help="copy the images instead of hard-linking them")
    parser.add_argument("--skip-invalid", action="store_true", help="leave invalid cases out instead of stopping")
    parser.add_argument("-np", dest="n_threads", type=int, metavar="N", help="cases at a time (default: all cores)")


def run(options: argparse.Namespace) -> None:
    """Convert, and say what comes next."""
    from dataset_conversion import EDITIONS, convert
    from dataset_conversion.write import MANIFEST
    from nnunet_resunet_ds.files import read_json

    dataset = convert(
        options.inputs,
        options.dataset_id,
        options.name,
        options.edition,
        copy=options.copy,
        skip_invalid=options.skip_invalid,
        n_threads=options.n_threads,
    )
    manifest = read_json(dataset / MANIFEST)
    training = sum(entry["segmentation"] is not None for entry in manifest["cases"].values())
    print(f"wrote {dataset}: {training} training and {len(manifest['cases']) - training} test cases")
    told = " (told from the case names)" if options.edition != manifest["edition"] else ""
    print(f"read as {EDITIONS[manifest['edition']].title}{told}")
    print(f"next: nnUNetv2_plan_and_preprocess -d {options.dataset_id} -c 3d_fullres")
