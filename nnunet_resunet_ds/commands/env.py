"""Print the shell line by which nnU-Net finds our trainers.

You rarely need it, because the installation does the same. You need it where Python starts with
RESUNET_DS_NO_DISCOVERY=1, or without site-packages.

Example:
  eval "$(resunet-ds env)"
"""

import argparse
import shlex

SUMMARY = "print the export line by which nnU-Net finds the trainers (rarely needed)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""


def run(options: argparse.Namespace) -> None:
    """Print the line."""
    from nnunet_resunet_ds.discovery import SEARCH_PATH_VARIABLE, trainer_folder

    own = f"${{{SEARCH_PATH_VARIABLE}:+${SEARCH_PATH_VARIABLE}:}}"
    print(f'export {SEARCH_PATH_VARIABLE}="{own}"{shlex.quote(trainer_folder())}')
