"""nnU-Net's three folders: there, writable, and with space for what goes there."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from nnunet_resunet_ds.base.nnunet_folders import NNUNET_FOLDERS
from nnunet_resunet_ds.doctor.finding import FAIL, OK, WARN, Finding

GIB = 2**30
LEAST_SPACE = {"nnUNet_raw": 0.1 * GIB, "nnUNet_preprocessed": 5 * GIB, "nnUNet_results": 4 * GIB}
"""In bytes, where nothing is known of the dataset; of results, five checkpoints of 0.6 GiB and predictions."""


def folders(space_needed: float | None = None) -> Iterator[Finding]:
    """Yield a finding for each folder.

    Args:
        space_needed: bytes of the preprocessed data that are still to be written, where the dataset is known.
    """
    needed = LEAST_SPACE if space_needed is None else {**LEAST_SPACE, "nnUNet_preprocessed": space_needed}
    for variable in NNUNET_FOLDERS:
        yield _folder(variable, needed[variable])


def _folder(variable: str, needed: float) -> Finding:
    value = os.environ.get(variable)
    if not value:
        return Finding(FAIL, variable, "is not set", f"export {variable}=/data/{variable}")
    folder = Path(value)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        return Finding(FAIL, variable, f"{folder} {what}", f"mkdir -p '{folder}', or name another folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding(FAIL, variable, f"{folder} cannot be written to", "mend its permissions, or name another folder")
    free = shutil.disk_usage(folder).free
    text = f"{folder}, {free / GIB:.1f} GiB free"
    if free < needed:
        remedy = "make space, or set the variable to a folder on another disk"
        return Finding(WARN, variable, f"{text}; about {needed / GIB:.1f} GiB will be written there", remedy)
    return Finding(OK, variable, text)
