"""Run the command ``resunet-ds``. Each subcommand is a module of `commands`, imported without anything heavy."""

import argparse
import sys
from collections.abc import Sequence
from types import ModuleType

from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.base.errors import EXIT_BAD_INPUT, InputError, SchedulerLostError, WorkerDiedError
from nnunet_resunet_ds.base.signals import INTERRUPTED, second_interrupt_ends
from nnunet_resunet_ds.commands import (
    ablation,
    average_weights,
    benchmark,
    convert,
    demo,
    doctor,
    ensemble,
    env,
    evaluate,
    export,
    install,
    models,
    package,
    plan,
    postprocess,
    predict,
    rank,
    report,
    splits,
    submission,
    train,
    tune,
)
from nnunet_resunet_ds.commands.executor_arguments import with_absolute_paths
from nnunet_resunet_ds.commands.helpful_parser import HelpfulParser
from nnunet_resunet_ds.commands.json_answer import lines_or_json
from nnunet_resunet_ds.commands.unread_output import unread_output_ignored

COMMANDS: dict[str, ModuleType] = {
    "convert": convert,
    "splits": splits,
    "plan": plan,
    "train": train,
    "average-weights": average_weights,
    "models": models,
    "predict": predict,
    "postprocess": postprocess,
    "ensemble": ensemble,
    "tune": tune,
    "evaluate": evaluate,
    "rank": rank,
    "report": report,
    "submission": submission,
    "package": package,
    "install": install,
    "export": export,
    "ablation": ablation,
    "benchmark": benchmark,
    "demo": demo,
    "doctor": doctor,
    "env": env,
}
"""In the order in which a user needs them, from a BraTS download to a report."""

_FOR_MEMORY = "end other programs, or give a smaller -np where the command has it; finished cases are kept"
_OUR_FAULT = "this should not happen: please report what follows, with what 'resunet-ds doctor --json' prints"

_THE_WAY = """\
from a BraTS download to a report:
  resunet-ds convert /data/BraTS2021_train -d 137
  nnUNetv2_plan_and_preprocess -d 137 -c 3d_fullres
  nnUNetv2_train 137 3d_fullres 0 -tr ResUNetDSTrainer
  resunet-ds predict -i /data/BraTS2021_val -o labels -d 137
  resunet-ds evaluate -ref /data/BraTS2021_reference -pred labels -o metrics.json
  resunet-ds report -i /data/BraTS2021_val -pred labels -ref /data/BraTS2021_reference -o report.html

predict with stock nnU-Net instead:
  nnUNetv2_predict -d 137 -i imagesTs -o out -c 3d_fullres -f 0 -tr ResUNetDSTrainer --save_probabilities
  resunet-ds postprocess -i out -o labels

try it first, on made-up images: resunet-ds demo
find out why something does not work: resunet-ds doctor
paths such as docs/how_to/predict.md are in the repository
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code: 0 done, 2 bad input, 130 interrupted; a fault of ours raises (1)."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser()
    if not given:
        parser.print_help(sys.stderr)
        parser.exit(EXIT_BAD_INPUT)
    options = parser.parse_args(given)
    from nnunet_resunet_ds.base.log import shown  # noqa: PLC0415 (not for --help)

    if getattr(options, "scheduler", None):
        options = with_absolute_paths(options)
    try:
        with (
            unread_output_ignored(),
            shown(verbose=options.verbose),
            second_interrupt_ends(),
            lines_or_json(options),
        ):
            COMMANDS[options.command].run(options)
    except (InputError, SchedulerLostError, WorkerDiedError) as error:
        return _stopped(options.command, str(error))
    except OSError as error:  # a full disk or missing permissions are for the user to repair, too
        return _stopped(options.command, f"{error.filename or 'disk'}: {error.strerror or error}")
    except MemoryError:
        return _stopped(options.command, f"out of memory: {_FOR_MEMORY}")
    except KeyboardInterrupt:
        print(f"resunet-ds {options.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception:
        print(f"resunet-ds {options.command}: {_OUR_FAULT}", file=sys.stderr)
        raise
    return 0


def _stopped(command: str, message: str) -> int:
    for line in message.splitlines():
        print(f"resunet-ds {command}: error: {line}", file=sys.stderr)
    return EXIT_BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = HelpfulParser(
        prog="resunet-ds",
        description="Segment brain tumours with a deeply supervised residual U-Net, trained by nnU-Net v2.",
        epilog=_THE_WAY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"resunet-ds {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(
            name,
            help=command.SUMMARY,
            description=command.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            for_strays=getattr(command, "FOR_STRAYS", ""),
        )
        command.add_arguments(subparser)
        subparser.add_argument("-v", "--verbose", action="store_true", help="say more of what is done")
    return parser


if __name__ == "__main__":
    sys.exit(main())
