"""Add and read the arguments of post-processing: thresholds, steps, their numbers and their order."""

import argparse
import textwrap
from pathlib import Path

from postprocessing.config import PRESETS, PostprocessingConfig
from postprocessing.settings import SETTINGS
from postprocessing.steps import STEP_KINDS

_WIDTH = 100
"""Of text that argparse leaves as it is."""


def add_postprocessing_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the settings of the post-processing.

    Args:
        parser: of the subcommand.
        default: what holds where neither ``--config`` nor ``--preset`` is given, for the help.
    """
    group = parser.add_argument_group("post-processing", _described_numbers(default))
    base = group.add_mutually_exclusive_group()
    base.add_argument("--config", type=Path, metavar="JSON", help="a postprocessing.json")
    base.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        help="nnunet does what nnUNetv2_predict does; paper is for WT, TC and ET",
    )
    for name, setting in SETTINGS.items():
        shown = argparse.SUPPRESS if setting.step else setting.number.help  # the group's text tells those of steps
        group.add_argument(_flag(name), type=setting.number.type, metavar="N", help=shown)
    group.add_argument(
        "--threshold",
        dest="thresholds",
        action="append",
        type=region_threshold,
        default=[],
        metavar="REGION=N",
        help="threshold of a region other than WT, TC and ET, such as RC=0.4 or GTV=0.4; again for another",
    )
    group.add_argument(
        "--set",
        dest="numbers",
        action="append",
        type=named_number,
        default=[],
        metavar="NAME=N",
        help="a number of a step of any region, such as rc_component_voxels=50 or gtv_opening=1; again for another",
    )
    group.add_argument(
        "--steps",
        nargs="*",
        metavar="STEP",
        help="which steps follow the thresholds, in which order: wt_, tc_, et_ or another region, and "
        + ", ".join(STEP_KINDS),
    )


def _flag(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"


def _described_numbers(default: str) -> str:
    """Return the text above the arguments, with a line for each number of a step, for no region in particular."""
    numbers = [number for kind in STEP_KINDS.values() for number in kind.numbers.values()]
    rows = [(f"{_flag(number.name)} N", number.help.format(region="the region")) for number in numbers]
    width = max(len(flag) for flag, _ in rows)
    return "\n".join(
        [
            textwrap.fill(f"Without --config and --preset: {default}. A flag overrides either.", _WIDTH),
            "Numbers of steps, in their usual order; write the region first, as in --et-component-voxels 16, and for",
            "a region other than WT, TC and ET --set, as in --set rc_component_voxels=16:",
            *(f"  {flag:{width}}  {text}" for flag, text in rows),
        ]
    )


def region_threshold(text: str) -> tuple[str, float]:
    """Return region and threshold of ``REGION=N``.

    Raises:
        argparse.ArgumentTypeError: it is not of this form.
    """
    region, _, number = text.rpartition("=")
    try:
        return region, float(number)
    except ValueError as error:
        msg = f"{text!r} is no threshold; give a region and a number from 0 to 1, such as GTV=0.4"
        raise argparse.ArgumentTypeError(msg) from error


def named_number(text: str) -> tuple[str, float]:
    """Return name and number of ``NAME=N``.

    Raises:
        argparse.ArgumentTypeError: it is not of this form.
    """
    name, _, number = text.rpartition("=")
    try:
        return name, int(number) if number.isdecimal() else float(number)
    except ValueError as error:
        msg = f"{text!r} is no setting; give a name and a number, such as rc_component_voxels=50"
        raise argparse.ArgumentTypeError(msg) from error


def chosen_config(options: argparse.Namespace, default: PostprocessingConfig) -> PostprocessingConfig:
    """Return the settings that the arguments ask for.

    Args:
        options: of the subcommand.
        default: those of the model, where the arguments name no others; a preset is for its regions.

    Raises:
        InputError: a file is missing or damaged, a value out of range, or a setting is of a region that is not there.
    """
    config = default
    if options.config:
        config = PostprocessingConfig.from_json(options.config)
    elif options.preset:
        config = default.with_preset(options.preset)
    given = {name: getattr(options, name) for name in SETTINGS}
    config = config.with_values(**{name: value for name, value in given.items() if value is not None})
    for region, threshold in options.thresholds:
        config = config.with_threshold(region, threshold)
    for name, value in options.numbers:
        config = config.with_number(name, value)
    return config if options.steps is None else config.with_steps(options.steps)
