"""The command ``resunet-ds``. Each subcommand is a module of `commands`, imported without anything heavy."""

import argparse
import sys
from collections.abc import Sequence
from types import ModuleType

from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.commands import (
    ablation,
    benchmark,
    convert,
    demo,
    doctor,
    env,
    evaluate,
    plan,
    postprocess,
    predict,
    report,
    splits,
    submission,
    tune,
)
from nnunet_resunet_ds.errors import InputError

COMMANDS: dict[str, ModuleType] = {
    "convert": convert,
    "splits": splits,
    "plan": plan,
    "predict": predict,
    "postprocess": postprocess,
    "tune": tune,
    "evaluate": evaluate,
    "report": report,
    "submission": submission,
    "ablation": ablation,
    "benchmark": benchmark,
    "demo": demo,
    "doctor": doctor,
    "env": env,
}
"""In the order of the way from a BraTS download to a report."""

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
"""What a shell reports for Ctrl-C."""

_THE_WAY = """\
the whole way:
  resunet-ds convert /data/BraTS2021_train -d 137
  nnUNetv2_plan_and_preprocess -d 137 -c 3d_fullres
  nnUNetv2_train 137 3d_fullres 0 -tr ResUNetDSTrainer
  resunet-ds predict -i /data/BraTS2021_val -o labels -d 137
  resunet-ds evaluate -ref /data/BraTS2021_reference -pred labels -o metrics.json
  resunet-ds report -i /data/BraTS2021_val -pred labels -ref /data/BraTS2021_reference -o report.html

the last step with stock nnU-Net:
  nnUNetv2_predict -d 137 -i imagesTs -o out -c 3d_fullres -f 0 -tr ResUNetDSTrainer --save_probabilities
  resunet-ds postprocess -i out -o labels

to see it work first, on made-up images: resunet-ds demo
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code: 0 done, 2 bad input, 130 interrupted; a fault of ours raises (1)."""
    options = _parser().parse_args(arguments)
    try:
        COMMANDS[options.command].run(options)
    except InputError as error:
        for line in str(error).splitlines():
            print(f"resunet-ds {options.command}: error: {line}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except OSError as error:
        # what the disk or its permissions refuse is the user's to mend, too
        print(
            f"resunet-ds {options.command}: error: {error.filename or 'disk'}: {error.strerror or error}",
            file=sys.stderr,
        )
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(f"resunet-ds {options.command}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="resunet-ds",
        description="Brain-tumour segmentation with a deeply supervised residual U-Net, as an nnU-Net v2 trainer.",
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
        )
        command.add_arguments(subparser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
