"""What tells a file from another that takes its place: its bytes, whatever its path and time."""

import hashlib
from pathlib import Path
from typing import Any

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
