"""Turn region probabilities into label maps: nested thresholds, then steps such as the enhancing-tumour rules.

INPUT is what resunet-ds predict --save-probabilities or nnUNetv2_predict --save_probabilities wrote. What each step
changed in each case is written next to the label maps.

Examples:
  resunet-ds postprocess -i out -o labels
  resunet-ds postprocess -i out -o labels --preset none --wt-component-voxels 100
"""

import argparse
from pathlib import Path

from nnunet_resunet_ds.base.counted import counted
from nnunet_resunet_ds.base.run_file import RUN
from nnunet_resunet_ds.commands.arguments import add_overwrite_argument
from nnunet_resunet_ds.commands.executor_arguments import add_executor_arguments, chosen_executor
from nnunet_resunet_ds.commands.given_paths import check_files, check_folders
from nnunet_resunet_ds.commands.postprocessing_arguments import add_postprocessing_arguments, chosen_config

SUMMARY = "turn probabilities into label maps"
FOR_STRAYS = "give the folder with -i: resunet-ds postprocess -i {} -o OUTPUT"
"""What to type where an argument has no flag before it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument(
        "-i", dest="input_folder", type=Path, required=True, metavar="INPUT", help="folder of .npz and .nii.gz files"
    )
    parser.add_argument(
        "-o", dest="output_folder", type=Path, required=True, metavar="OUTPUT", help="folder for label maps"
    )
    add_overwrite_argument(parser)
    add_postprocessing_arguments(
        parser,
        "what was tuned with the model, where plans.json in INPUT has it; else the paper's, or nnU-Net's where "
        "dataset.json in INPUT has other regions than WT, TC and ET",
    )
    add_executor_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Post-process the folder and say what that changed and where everything is."""
    check_folders([options.input_folder], "-i")
    check_files([options.config])
    from dataset_conversion.cohort import warning_lines
    from postprocessing.case import TABLE, summary_lines
    from postprocessing.emptied import emptied_warnings
    from postprocessing.folder import log_what_does_not_fit, postprocess_folder
    from postprocessing.model_config import SETTINGS_FILE, config_of_predictions

    config = chosen_config(options, config_of_predictions(options.input_folder))
    log_what_does_not_fit(config, options.input_folder)
    with chosen_executor(options, [options.input_folder], [options.output_folder]) as executor:
        changes = postprocess_folder(
            options.input_folder, options.output_folder, config, executor, overwrite=options.overwrite
        )
    emptied = {case: list(emptied_warnings(of_case, config)) for case, of_case in changes.items()}
    for line in (*summary_lines(changes), *warning_lines(emptied)):
        print(line)
    n = counted(len(changes), "label map")
    print(f"wrote {n} to {options.output_folder}; {SETTINGS_FILE}, {RUN} and {TABLE} are there, too")
