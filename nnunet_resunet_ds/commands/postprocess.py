"""Turn region probabilities into label maps: nested thresholds, then the enhancing-tumour rules.

INPUT is what nnUNetv2_predict --save_probabilities wrote. The defaults are the paper's; a flag overrides --config.

Example:
  resunet-ds postprocess -i out -o labels
"""

import argparse
from pathlib import Path
from typing import Any

from postprocessing.config import PostprocessingConfig

SUMMARY = "probabilities → label maps"

_FLAGS: dict[str, tuple[str, type, str]] = {
    "--wt": ("wt", float, "whole-tumour threshold"),
    "--tc": ("tc", float, "tumour-core threshold"),
    "--et": ("et", float, "enhancing-tumour threshold"),
    "--et-component-voxels": ("et_component_voxels", int, "an ET component below this size is doubtful"),
    "--et-component-probability": ("et_component_probability", float, "… and NCR below this mean probability"),
    "--et-total-voxels": ("et_total_voxels", int, "all ET together below this size is doubtful"),
    "--et-total-probability": ("et_total_probability", float, "… and NCR below this mean probability"),
    "--connectivity": ("connectivity", int, "of ET components: 6, 18 or 26"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument(
        "-i", dest="input_folder", type=Path, required=True, metavar="INPUT", help="of .npz and .nii.gz"
    )
    parser.add_argument("-o", dest="output_folder", type=Path, required=True, metavar="OUTPUT", help="for label maps")
    parser.add_argument("--config", type=Path, metavar="JSON", help="a postprocessing.json")
    for flag, (name, convert, text) in _FLAGS.items():
        default = getattr(PostprocessingConfig, name)
        parser.add_argument(flag, dest=name, type=convert, metavar="N", help=f"{text} (default: {default})")


def run(options: argparse.Namespace) -> None:
    """Post-process the folder and say where the label maps and the settings are."""
    from postprocessing.folder import SETTINGS, postprocess_folder

    base = PostprocessingConfig.from_json(options.config) if options.config else PostprocessingConfig.paper()
    given: dict[str, Any] = {name: getattr(options, name) for name, _, _ in _FLAGS.values()}
    overrides = {name: value for name, value in given.items() if value is not None}
    config = PostprocessingConfig.from_mapping({**base.to_mapping(), **overrides})
    written = postprocess_folder(options.input_folder, options.output_folder, config)
    print(f"wrote {len(written)} label maps to {options.output_folder}, and the settings as {SETTINGS} there")
