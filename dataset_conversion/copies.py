"""Telling a copy of a file from a file of the same name that is not the same."""

import filecmp
from pathlib import Path

from nnunet_resunet_ds.base.nifti_check import holds_unpacked, is_gzip


def same_content(first: Path, second: Path) -> bool:
    """Tell whether two files hold the same bytes, once unpacked; not where one cannot be read: its check says why."""
    try:
        if not (first.is_file() and second.is_file()):  # a pipe would never end
            return False
        if filecmp.cmp(first, second, shallow=False):
            return True
        packed = [path for path in (first, second) if is_gzip(path)]
        if len(packed) != 1:
            return False
        (plain,) = {first, second} - {*packed}
        return holds_unpacked(packed[0], plain)
    except OSError:
        return False
