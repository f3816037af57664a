"""Examine the installation and this machine, and say how to repair what is wrong.

The command checks versions, whether nnU-Net's workers find the trainers, nnU-Net's three folders and their space, GPU,
worker processes and shared memory, measures the speed of convolutions for ten seconds, and finds the number format for
the paper's network: on a CPU with bf16 units that takes half a minute more, the first time. With -d it also checks a
dataset, with -m a model folder. If anything fails, the exit code is 2. If you ask for help, send what --json prints.

Examples:
  resunet-ds doctor
  resunet-ds doctor -d 137
  resunet-ds doctor -m MODEL_FOLDER --json
"""

import argparse

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.commands.arguments import dataset_id
from nnunet_resunet_ds.commands.finding_lines import findings_content, lines_of
from nnunet_resunet_ds.commands.json_answer import add_json_argument, answer
from nnunet_resunet_ds.commands.model_arguments import model_folder
from nnunet_resunet_ds.doctor import FAIL, OK, WARN
from nnunet_resunet_ds.doctor.examination import examine

SUMMARY = "examine the installation and this machine, and say how to repair what is wrong"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument(
        "-d", dest="dataset_id", type=dataset_id, metavar="ID", help="also examine this dataset (number or name)"
    )
    parser.add_argument(
        "-m",
        dest="model_folders",
        type=model_folder,
        action="append",
        default=[],
        metavar="FOLDER",
        help="also examine this model folder, TRAINER__PLANS__CONFIGURATION; can be given several times",
    )
    parser.add_argument("--no-speed", action="store_true", help="do not measure the speed, which takes ten seconds")
    add_json_argument(parser)


def run(options: argparse.Namespace) -> None:
    """Examine, print each finding as it comes, and count them.

    Raises:
        InputError: something fails.
    """
    from tqdm import tqdm

    findings = []
    for finding in examine(options.dataset_id, options.model_folders, measure_speed=not options.no_speed):
        findings.append(finding)
        for line in lines_of(finding):
            tqdm.write(line)
    answer(options, findings_content(findings))
    counts = {level: sum(finding.level == level for finding in findings) for level in (OK, WARN, FAIL)}
    print(", ".join(f"{count} {level}" for level, count in counts.items()))
    if counts[FAIL]:
        msg = f"{counts[FAIL]} of {len(findings)} findings fail; each says what to do"
        raise InputError(msg)
