"""Make an nnU-Net raw dataset from BraTS folders.

The command finds the cases below each INPUT by their file names (CASE_t1ce.nii.gz until 2021, CASE-t1c.nii.gz since
2023, 4-D files in MSD Task01), checks every file, and writes $nnUNet_raw/DatasetXXX_NAME. If no case of an INPUT, or of
a folder directly below it, has a segmentation, these cases become imagesTs. Files in a folder of corrections, such as
...-corrected-labels, replace those that they correct. If you stop the command, run it again: it goes on where it was.
If you have more cases later, run it again with all folders, the earlier ones too: it adds what is new. For cases of
your own, P001_t1.nii.gz or P001/t1.nii.gz, name the edition that has your label values.

Examples:
  resunet-ds convert --check /data/BraTS2021_train
  resunet-ds convert /data/BraTS2021_train /data/BraTS2021_val -d 137
  resunet-ds convert /data/BraTS2025_MET -d 140 --edition 2025 --allow-missing T2
  resunet-ds convert /data/mine -d 150 --edition 2021
"""

import argparse
from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_resunet_ds.base.counted import counted
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.commands.arguments import add_allow_missing_argument, id_and_name
from nnunet_resunet_ds.commands.edition_arguments import add_edition_arguments
from nnunet_resunet_ds.commands.executor_arguments import add_executor_arguments, chosen_executor
from nnunet_resunet_ds.commands.json_answer import add_json_argument, answer

if TYPE_CHECKING:
    from dataset_conversion.cohort import CohortReport
    from dataset_conversion.find_cases import RawCase

SUMMARY = "make an nnU-Net raw dataset from BraTS folders"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT", help="folder to search for cases, at any depth"
    )
    aim = parser.add_mutually_exclusive_group()
    aim.add_argument(
        "-d",
        dest="dataset",
        type=id_and_name,
        metavar="ID",
        help="dataset number, 1 to 999, or whole name, such as Dataset137_BraTS2021",
    )
    aim.add_argument("--check", action="store_true", help="check the files and count the labels, and write nothing")
    parser.add_argument(
        "-n",
        dest="name",
        help="dataset name after DatasetXXX_ (default: that of the dataset with this ID, else of the edition)",
    )
    add_edition_arguments(parser)
    add_allow_missing_argument(parser, "an image of zeros is written, and conversion.json lists them as absent")
    images = parser.add_mutually_exclusive_group()
    images.add_argument("--copy", action="store_true", help="copy the images instead of hard-linking them")
    images.add_argument("--symlink", action="store_true", help="make symbolic links to the images; works across disks")
    parser.add_argument("--skip-invalid", action="store_true", help="leave out invalid cases instead of stopping")
    parser.add_argument(
        "--no-validate", action="store_true", help="do not open the images; the label maps are still checked"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a dataset that another program made, or remove its cases that are not in INPUT",
    )
    add_executor_arguments(parser)
    add_json_argument(parser)


def run(options: argparse.Namespace) -> None:
    """Convert or only check, and print the result and the next command."""
    if options.dataset is None and not options.check:
        msg = "give -d and a free number from 1 to 999, such as -d 137; or --check, to look at the files only"
        raise InputError(msg)
    if options.check:
        with chosen_executor(options, options.inputs) as executor:
            _check(options, executor)
    else:
        from nnunet_resunet_ds.base.nnunet_folders import nnunet_folder

        with chosen_executor(options, options.inputs, [nnunet_folder("nnUNet_raw")]) as executor:
            _convert(options, executor)


def _check(options: argparse.Namespace, executor: Executor | None) -> None:
    from dataset_conversion import check
    from dataset_conversion.cohort import correction_lines

    result = check(
        options.inputs,
        options.edition,
        edition_file=options.edition_file,
        allow_missing=options.allow_missing,
        executor=executor,
    )
    decision, cases = result.cohort.decision, result.cohort.cases
    answer(options, _content(result))
    labelled = sum(case.segmentation is not None for case in cases)
    found = f"{counted(len(cases), 'case')}, {labelled} with a segmentation"
    print(f"{found}, read as {decision.edition.title}: {decision.reason}")
    for line in correction_lines(cases, decision.edition):
        print(line)
    _print_findings({case.case_id: _entry(case, result) for case in cases if case.case_id in result.reports})
    if result.problems:
        lines = [line for case_id in sorted(result.problems) for line in result.problems[case_id]]
        raise InputError("\n".join([*lines, f"{len(result.problems)} of {len(cases)} cases are invalid"]))
    print("no case is invalid")


def _entry(case: "RawCase", result: "CohortReport") -> dict[str, Any]:
    """Return what was found of a case, as the manifest has it."""
    report = result.reports[case.case_id]
    images = {name: report.sources[path].identity for name, path in case.images.items() if path in report.sources}
    return {**vars(report), "images": images}


def _content(result: "CohortReport") -> dict[str, object]:
    """Return what a check found, for programs; of a case whose files were not opened, its problems alone."""
    decision = result.cohort.decision
    found = ("voxels", "absent", "orientation", "warnings")
    return {
        "edition": decision.edition.key,
        "reason": decision.reason,
        "cases": {
            case.case_id: {
                "segmentation": case.segmentation is not None,
                **{name: getattr(result.reports.get(case.case_id), name, None) for name in found},
                "problems": result.problems.get(case.case_id, []),
            }
            for case in result.cohort.cases
        },
    }


def _convert(options: argparse.Namespace, executor: Executor | None) -> None:
    from dataset_conversion import convert
    from dataset_conversion.staging import MANIFEST
    from nnunet_resunet_ds.base.files import read_json
    from nnunet_resunet_ds.base.nnunet_folders import preprocess_command

    dataset_id, name = options.dataset
    if None not in (name, options.name) and name != options.name:
        msg = f"-d names the dataset {name}, and -n {options.name}; leave one of them out"
        raise InputError(msg)
    dataset = convert(
        options.inputs,
        dataset_id,
        options.name or name,
        options.edition,
        edition_file=options.edition_file,
        allow_missing=options.allow_missing,
        link_mode="copy" if options.copy else "symlink" if options.symlink else "hardlink",
        validate=not options.no_validate,
        skip_invalid=options.skip_invalid,
        overwrite=options.overwrite,
        executor=executor,
    )
    manifest = read_json(dataset / MANIFEST)
    answer(options, {"dataset": dataset, **manifest})
    cases = manifest["cases"]
    training = sum(entry["segmentation"] is not None for entry in cases.values())
    _print_findings(cases)
    print(f"{dataset}: {training} training and {len(cases) - training} test cases; see {MANIFEST} for details")
    print(f"next: {preprocess_command(dataset.name)}")


def _print_findings(cases: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the label census, absent sequences, copies, orientations, repairs and warnings of entries of a manifest."""
    from dataset_conversion.cohort import (
        absence_lines,
        census_table,
        copy_lines,
        orientation_lines,
        repair_lines,
        warning_lines,
    )
    from dataset_conversion.write import ABSENT

    for line in (
        *census_table({case_id: case["voxels"] for case_id, case in cases.items()}),
        *absence_lines({case_id: case.get(ABSENT, ()) for case_id, case in cases.items()}),
        *repair_lines({case_id: case.get("repairs", ()) for case_id, case in cases.items()}),
        *copy_lines({case_id: _digests(case["images"]) for case_id, case in cases.items()}),
        *orientation_lines({case_id: case.get("orientation") for case_id, case in cases.items()}),
        *warning_lines({case_id: case["warnings"] for case_id, case in cases.items()}),
    ):
        print(line)


def _digests(images: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return channel → SHA-256 of its image."""
    return {channel: str(identity["sha256"]) for channel, identity in images.items()}
