"""Print the shell line that makes nnU-Net find our trainers.

Installing does this by itself. The line is for a Python that was started with the opt-out RESUNET_DS_NO_DISCOVERY=1, or
without site-packages:  eval "$(resunet-ds env)"
"""

import argparse
import shlex

SUMMARY = "the export line that makes nnU-Net find the trainers (installing does it by itself)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""


def run(options: argparse.Namespace) -> None:
    """Print the line."""
    from nnunet_resunet_ds.discovery import SEARCH_PATH_VARIABLE, trainer_folder

    own = f"${{{SEARCH_PATH_VARIABLE}:+${SEARCH_PATH_VARIABLE}:}}"
    print(f'export {SEARCH_PATH_VARIABLE}="{own}"{shlex.quote(trainer_folder())}')
