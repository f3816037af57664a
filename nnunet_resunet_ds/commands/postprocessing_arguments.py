"""The arguments of every subcommand that post-processes, and the settings that they ask for."""

import argparse
from pathlib import Path
from typing import Any

from postprocessing.config import PRESETS, STEPS, PostprocessingConfig

_NAMES = {"wt": "whole-tumour", "tc": "tumour-core", "et": "enhancing-tumour"}


def add_postprocessing_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    """Add them.

    Args:
        parser: of the subcommand.
        default: what holds where neither ``--config`` nor ``--preset`` is given, for the help.
    """
    group = parser.add_argument_group(
        "post-processing", f"Without --config and --preset: {default}. A flag overrides either."
    )
    base = group.add_mutually_exclusive_group()
    base.add_argument("--config", type=Path, metavar="JSON", help="a postprocessing.json")
    base.add_argument("--preset", choices=tuple(PRESETS), help="nnunet does what nnUNetv2_predict does")
    for flag, (convert, text) in _flags().items():
        group.add_argument(flag, type=convert, metavar="N", help=text)
    group.add_argument("--connectivity", type=int, metavar="N", help="of components: 6, 18 or 26")
    group.add_argument(
        "--steps",
        nargs="*",
        metavar="STEP",
        help=f"which steps follow the thresholds, in which order: {' '.join(STEPS)}",
    )


def chosen_config(options: argparse.Namespace, default: PostprocessingConfig) -> PostprocessingConfig:
    """Return the settings that the arguments ask for.

    Raises:
        InputError: a file is missing or damaged, or a value out of range.
    """
    base = default
    if options.config:
        base = PostprocessingConfig.from_json(options.config)
    elif options.preset:
        base = PostprocessingConfig.preset(options.preset)
    given: dict[str, Any] = {
        name: getattr(options, name) for name in (*map(_setting, _flags()), "connectivity", "steps")
    }
    overrides = {name: value for name, value in given.items() if value is not None}
    return PostprocessingConfig.from_mapping({**base.to_mapping(), **overrides})


def _flags() -> dict[str, tuple[type, str]]:
    flags: dict[str, tuple[type, str]] = {f"--{key}": (float, f"{name} threshold") for key, name in _NAMES.items()}
    for key, name in _NAMES.items():
        flags |= {
            f"--{key}-opening": (int, f"radius of the {name} opening"),
            f"--{key}-closing": (int, f"radius of the {name} closing"),
            f"--{key}-component-voxels": (int, f"a {name} component below this size is doubtful"),
            f"--{key}-component-probability": (float, "… and goes below this mean probability"),
        }
    return flags | {
        "--et-total-voxels": (int, "all enhancing tumour together below this size is doubtful"),
        "--et-total-probability": (float, "… and goes below this mean probability"),
    }


def _setting(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")
