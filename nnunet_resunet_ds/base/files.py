"""Write a file whole or not at all, and tell a file from another by its bytes."""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.errors import InputError

IMAGE_ENDINGS = (".nii.gz", ".nii")
"""Of label maps and images that we write."""
OTHER_IMAGE_ENDINGS = (
    *(".mha", ".mhd", ".nrrd", ".nhdr", ".gipl", ".img", ".hdr", ".mgz", ".mgh", ".mnc", ".dcm"),
    *(".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".gz"),
)
"""Of images that we do not."""
FILE_ENDINGS = (
    *IMAGE_ENDINGS,
    *OTHER_IMAGE_ENDINGS,
    *(".npz", ".npy", ".json", ".csv", ".html", ".md", ".txt", ".zip", ".pth", ".tar"),
)
"""No folder that a command makes is meant to have a name with one of these."""
_RANDOM_DIGITS = 8
"""Of a temporary name."""
_REFUSED_WRITES = {
    errno.ENOSPC: "make space on this disk",
    errno.EDQUOT: "make space in your quota",
    errno.EROFS: "choose a folder that can be written to",
}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and move it there on success; remove it on failure.

    The temporary name keeps the suffixes, because image writers choose the format by them.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex[:_RANDOM_DIGITS]}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105 (the name everyone greps for)
    except OSError as error:
        if error.errno in _REFUSED_WRITES:  # copying blames the source, and writing names no file
            raise OSError(error.errno, f"{error.strerror}; {_REFUSED_WRITES[error.errno]}", str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def check_output_file(path: Path, ending: str) -> None:
    """Refuse what cannot become a file, before any work is done for it.

    Args:
        path: of the file to write.
        ending: that its name must have, so that no input is written over by a slip.

    Raises:
        InputError: another ending, a folder by that name, or no folder above it.
    """
    if path.suffix.lower() != ending:
        msg = f"{path}: give a name that ends in {ending}"
        raise InputError(msg)
    if path.is_dir():
        msg = f"{path}: is a folder; give the name of a file in it"
        raise InputError(msg)
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        msg = f"{path}: cannot be made, as {above} is a file"
        raise InputError(msg)


def check_output_folder(path: Path) -> None:
    """Refuse a name that is meant for a file, before a folder of that name is made.

    Raises:
        InputError: it is not there as a folder and ends as a file does, or it is a file.
    """
    if path.is_dir():
        return
    if path.exists():
        msg = f"{path}: is a file; give a folder with -o"
        raise InputError(msg)
    if path.name.lower().endswith(FILE_ENDINGS):
        msg = f"{path}: has the name of a file, and a folder is made here; leave the ending out"
        raise InputError(msg)


def remove_half_written(folder: Path, *names: str) -> None:
    """Remove what killed processes left of files that they were writing with `replacing`.

    Args:
        folder: whose only writer is this process.
        names: patterns of the files, as they would be called.
    """
    for name in names:
        for file in folder.glob(f".{'[0-9a-f]' * _RANDOM_DIGITS}.{name}"):
            file.unlink(missing_ok=True)


def link_or_copy(source: Path, destination: Path) -> None:
    """Make a hard link, or a copy where there can be none: on another file system, or one without hard links."""
    try:
        os.link(source.resolve(), destination)
    except OSError:
        shutil.copyfile(source, destination)


def file_state(path: Path) -> list[int]:
    """Return size and time of change in ns: what tells a file from another that takes its place."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def write_text(text: str, path: Path) -> None:
    """Write a text file, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(content: Any, path: Path) -> None:  # noqa: ANN401 (whatever json can write)
    """Write ``content`` as indented JSON, atomically."""
    write_text(json.dumps(content, indent=2) + "\n", path)


def read_json(path: Path) -> Any:  # noqa: ANN401 (whatever the file holds)
    """Read a JSON file.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        msg = f"{path}: no such file"
        raise InputError(msg) from error
    except (ValueError, RecursionError) as error:  # the latter of brackets in brackets in brackets
        msg = f"{path}: not valid JSON ({error}); restore the file or make it anew"
        raise InputError(msg) from error


_BLOCK = 1 << 20
"""Bytes that are read at a time."""


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def identity_of(path: Path) -> dict[str, Any]:
    """Return size, time of change in ns and SHA-256 of a file."""
    stat = path.stat()  # before the bytes, so that a later change is noticed
    return {"bytes": stat.st_size, "modified_ns": stat.st_mtime_ns, "sha256": digest(path)}


def is_same(known: Any, path: Path) -> bool:  # noqa: ANN401 (JSON may hold anything)
    """Tell whether a file is there and has the bytes that `identity_of` noted; a note that is damaged is of no file.

    The bytes are read only where the size is the same and the time is another: a copy, or a file written anew.
    """
    try:
        stat = path.stat()
        if stat.st_size != known["bytes"]:
            return False
        return bool(stat.st_mtime_ns == known["modified_ns"]) or digest(path) == known["sha256"]
    except (OSError, LookupError, TypeError):
        return False
