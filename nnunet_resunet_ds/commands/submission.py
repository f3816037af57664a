"""Hand in: translate label maps to the values of a BraTS edition, or write a container, or try one.

1. Label maps (-i, -o). The file run.json or dataset.json in INPUT says what the values mean now. Geometry does not
   change. File names do not change, except for MEN-RT, which needs CASE_gtv.nii.gz. Hand in the .nii.gz files only.
   Keep run.json: it prevents a second translation.
2. A container (--container). OUT gets a Dockerfile, an Apptainer definition, the entry point, a copy of the model, the
   code and a README that says how to build and run it. Docker is not needed here.
3. A trial (--check-container). The entry point in OUT segments made-up cases of its edition as a challenge runs it: no
   network, all read-only but the output, no home folder, little memory. Each line says what was found. Without a GPU
   it takes as long as the cases take on a CPU, which --no-tta and fewer folds shorten.

Examples:
  resunet-ds submission -i labels -o to_hand_in
  resunet-ds submission -i from_elsewhere -o to_hand_in --labels nnunet --edition 2023-gli
  resunet-ds submission --container OUT -m MODEL_FOLDER --edition 2024-gli
  resunet-ds submission --check-container OUT
"""

import argparse
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from nnunet_resunet_ds.base.counted import counted
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.commands.arguments import add_allow_missing_argument, add_no_tta_argument, add_overwrite_argument
from nnunet_resunet_ds.commands.edition_arguments import add_edition_arguments
from nnunet_resunet_ds.commands.json_answer import add_json_argument, answer
from nnunet_resunet_ds.commands.model_arguments import model_folder

SUMMARY = "translate label maps to hand them in, or write a container"
_MEMORY_GIB, _SECONDS = 16.0, 3600.0


class _Way(NamedTuple):
    """One of the three things that this command does."""

    flag: str
    """That chooses it."""
    takes: tuple[str, ...]
    """Flags beyond that."""
    needs: tuple[str, ...]


_TRANSLATE = _Way("-i", ("-o", "--labels", "--overwrite", "--edition", "--edition-file"), ("-i", "-o"))
_WRITE = _Way("--container", ("-m", "-f", "-chk", "--no-tta", "--allow-missing", "--edition"), ("-m", "--edition"))
_CHECK = _Way("--check-container", ("--memory", "--seconds"), ())
_NAMES = {
    "input_folder": "-i", "output_folder": "-o", "labels": "--labels", "overwrite": "--overwrite",
    "edition": "--edition", "edition_file": "--edition-file", "container": "--container", "model_folders": "-m",
    "folds": "-f", "checkpoint": "-chk", "no_tta": "--no-tta", "allow_missing": "--allow-missing",
    "check_container": "--check-container", "memory": "--memory", "seconds": "--seconds",
}  # fmt: skip
"""Name of an option → its flag."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    maps = parser.add_argument_group("1. label maps")
    maps.add_argument("-i", dest="input_folder", type=Path, metavar="INPUT", help="folder of label maps, CASE.nii.gz")
    maps.add_argument("-o", dest="output_folder", type=Path, metavar="OUTPUT", help="folder to write to")
    maps.add_argument(
        "--labels",
        metavar="LABELS",
        help="what the label values in INPUT mean: nnunet, or an edition such as 2021 (default: what run.json or "
        "dataset.json says)",
    )
    add_overwrite_argument(maps)
    add_edition_arguments(parser.add_argument_group("1. and 2.; for a container --edition names one, such as 2024-gli"))
    container = parser.add_argument_group("2. a container")
    container.add_argument(
        "--container", type=Path, metavar="OUT", help="folder to write; an earlier container there is replaced"
    )
    container.add_argument(
        "-m",
        dest="model_folders",
        type=model_folder,
        action="append",
        metavar="FOLDER",
        help="the model's folder, TRAINER__PLANS__CONFIGURATION, or starter; again for an ensemble",
    )
    container.add_argument("-f", dest="folds", nargs="+", metavar="FOLD", help="(default: every fold that is trained)")
    container.add_argument("-chk", dest="checkpoint", metavar="FILE", help="(default: checkpoint_final.pth)")
    add_no_tta_argument(container)
    add_allow_missing_argument(
        container, "an image of zeros stands for them; what the edition does not guarantee is allowed in any case"
    )
    check = parser.add_argument_group("3. a trial of a container")
    check.add_argument("--check-container", type=Path, metavar="OUT", help="folder that --container wrote")
    check.add_argument(
        "--memory", type=float, metavar="GIB", help=f"that it may take where no GPU is (default: {_MEMORY_GIB:g})"
    )
    check.add_argument("--seconds", type=float, metavar="N", help=f"that it may take (default: {_SECONDS:g})")
    add_json_argument(parser)


def run(options: argparse.Namespace) -> None:
    """Do what the arguments ask for, and print what came of it."""
    way = _chosen_way(options)
    if way is _TRANSLATE:
        _translate(options)
    elif way is _WRITE:
        _write(options)
    else:
        _check(options)


def _chosen_way(options: argparse.Namespace) -> _Way:
    """Return which of the three it is.

    Raises:
        InputError: none or two of them, or an argument that is missing or belongs to another.
    """
    given = {_NAMES[name] for name, value in vars(options).items() if name in _NAMES and value not in (None, False, [])}
    if options.edition == "auto":
        given -= {"--edition"}
    ways = [way for way in (_WRITE, _CHECK) if way.flag in given] or [_TRANSLATE]
    if len(ways) > 1:
        msg = "give either --container or --check-container: first write it, then try it"
        raise InputError(msg)
    (way,) = ways
    wrong = sorted(given - {way.flag, *way.takes})
    missing = [flag for flag in way.needs if flag not in given]
    if wrong and given & {"-i", "-o", "--container", "--check-container"}:
        msg = f"{', '.join(wrong)} does not go with {way.flag}; see 'resunet-ds submission --help'"
        raise InputError(msg)
    if missing:
        if not given & {"-i", "-o", "--container"}:
            msg = "give -i and -o to translate label maps, --container for a container, or --check-container to try one"
        else:
            msg = f"{way.flag if way is _WRITE else 'submission'} needs {' and '.join(missing)}, too"
        raise InputError(msg)
    return way


def _translate(options: argparse.Namespace) -> None:
    """Translate, and print to which edition."""
    from dataset_conversion.submission import write_submission

    edition, written = write_submission(
        options.input_folder,
        options.output_folder,
        options.edition,
        edition_file=options.edition_file,
        labels=options.labels,
        overwrite=options.overwrite,
    )
    values = ", ".join(f"{raw} {edition.tissue_name(tissue)}" for raw, tissue in edition.tissues.items() if tissue)
    answer(options, {"edition": edition.key, "files": written})
    print(f"wrote {counted(len(written), 'label map')} of {edition.title} ({values}) to {options.output_folder}")


def _write(options: argparse.Namespace) -> None:
    """Write a container, and print how to go on."""
    from nnunet_resunet_ds.container.contract import edition_of_container
    from nnunet_resunet_ds.container.write_container import write_container
    from nnunet_resunet_ds.inference.load_model import load_model
    from nnunet_resunet_ds.training.checkpoint.checkpoint_names import FINAL

    edition = edition_of_container(options.edition)
    models = [load_model(folder, options.folds, options.checkpoint or FINAL) for folder in options.model_folders]
    settings = write_container(
        options.container, models, edition.key, absent=options.allow_missing, no_tta=options.no_tta
    )
    answer(options, {"edition": edition.key, "container": options.container, "may_lack": settings.absent})
    lacking = f"; a case may lack {', '.join(settings.absent)}" if settings.absent else ""
    print(f"wrote a container for {edition.title} to {options.container}{lacking}")
    print(f"try it here:  resunet-ds submission --check-container {quote(str(options.container))}")
    print(f"build it:     docker build -t resunet-ds-{edition.key} {quote(str(options.container))}")


def _check(options: argparse.Namespace) -> None:
    """Try a container, and print each finding as it comes.

    Raises:
        InputError: something fails.
    """
    from nnunet_resunet_ds.base.setting_checks import check_positive
    from nnunet_resunet_ds.commands.finding_lines import findings_content, lines_of
    from nnunet_resunet_ds.container.check_container import check_container, usual_limits
    from nnunet_resunet_ds.doctor import FAIL

    memory = _MEMORY_GIB if options.memory is None else options.memory
    seconds = _SECONDS if options.seconds is None else options.seconds
    for flag, value in (("--memory", memory), ("--seconds", seconds)):
        check_positive(flag, value)
    findings = []
    for finding in check_container(options.check_container, usual_limits(memory, seconds)):
        findings.append(finding)
        print(*lines_of(finding), sep="\n", flush=True)
    answer(options, findings_content(findings))
    n_failed = sum(finding.level == FAIL for finding in findings)
    if n_failed:
        msg = f"{options.check_container}: {n_failed} of {len(findings)} findings fail; correct them, and check again"
        raise InputError(msg)
    print(f"{len(findings)} findings, none fails. Next: docker build, and a run of the image as its README.md says")
