"""Check the paths that a user gave before anything heavy is imported: a typing error is told at once."""

from collections.abc import Iterable
from pathlib import Path

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.file_formats import not_a_folder


def check_folders(paths: Iterable[Path], flag: str) -> None:
    """Check that input folders are there.

    Args:
        paths: of the folders.
        flag: that they are given with.

    Raises:
        InputError: one is missing, or is no folder.
    """
    for path in paths:
        if path.is_dir():
            continue
        is_bare = not path.exists() and len(path.parts) == 1 and not path.is_absolute()
        example = f"; give a path, such as {flag} /data/BraTS2021/{path}" if is_bare else ""
        raise InputError(not_a_folder(path) + (example or _what_is_there(path)))


def check_files(paths: Iterable[Path | None]) -> None:
    """Check that files are there, those that are given.

    Raises:
        InputError: one is missing.
    """
    for path in paths:
        if path is not None and not path.exists():
            msg = f"{path}: no such file{_what_is_there(path)}"
            raise InputError(msg)


def _what_is_there(path: Path) -> str:
    """Return how much of a missing path is there; nothing where the path is there, or none of it."""
    if path.exists():
        return ""
    missing = path.absolute()
    while not missing.parent.exists():
        missing = missing.parent
    if missing == path.absolute():
        return "; look at the path"
    return f"; look at the path: {missing.parent} has no {missing.name}"
