"""Write a file completely or not at all, and recognise a file by its bytes."""

import errno
import hashlib
import json
import math
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.errors import InputError

FILE_ENDING = ".nii.gz"
"""Of the images and label maps that we write, unless another ending is asked for."""
IMAGE_ENDINGS = (FILE_ENDING, ".nii")
"""Endings of the label maps and images that we write."""
OTHER_IMAGE_ENDINGS = (
    *(".mha", ".mhd", ".nrrd", ".nhdr", ".gipl", ".img", ".hdr", ".mgz", ".mgh", ".mnc", ".dcm"),
    *(".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".gz"),
)
"""Endings of images that we do not write."""
FILE_ENDINGS = (
    *IMAGE_ENDINGS,
    *OTHER_IMAGE_ENDINGS,
    *(".npz", ".npy", ".json", ".csv", ".html", ".md", ".txt", ".zip", ".pth", ".tar"),
)
"""Endings of files: a name with one of these is not meant for a folder."""
TELLING_FILES = (
    *("run.json", "dataset.json", "plans.json", "postprocessing.json", "postprocessing_changes.csv"),
    *("splits_final.json", "dataset_fingerprint.json", "summary.json", "model_card.json", "expected_dice.json"),
)
"""Names of files that say what the files next to them are."""
_RANDOM_DIGITS = 8
"""Length of the random part of a temporary name."""
_BLOCK = 1 << 20
"""Bytes that `digest` reads at a time."""
_SECONDS_BETWEEN_TRIES = 0.05
_REFUSED_WRITES = {
    errno.ENOSPC: "make space on this disk",
    errno.EDQUOT: "make space in your quota",
    errno.EROFS: "choose a folder that can be written to",
}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to ``path``; move it to ``path`` on success, and remove it on failure.

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
        with suppress(OSError):  # of a disk that cannot be written to: what is wrong is said already
            temporary.unlink(missing_ok=True)


def check_output_file(path: Path, ending: str, inputs: Iterable[Path] = ()) -> None:
    """Check that a file can be written at this path, before any work is done for it.

    Args:
        path: of the file to write.
        ending: the name must have it, so that a mistake does not overwrite an input.
        inputs: files that are read.

    Raises:
        InputError: another ending, a folder by that name, or none above it that can be written to; or the file is one
            of the inputs, or one that tells other commands of the files next to it.
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
    if not os.access(above, os.W_OK):
        msg = f"{path}: {above} cannot be written to; give a file elsewhere"
        raise InputError(msg)
    if path.exists() and (path.name in TELLING_FILES or path.resolve() in {file.resolve() for file in inputs}):
        msg = f"{path}: would be replaced, and is read by this command or others; give another name"
        raise InputError(msg)


def check_output_folder(path: Path) -> None:
    """Check that an output folder has no name of a file, before the folder is made.

    Raises:
        InputError: it is a file, or it does not exist and ends as a file does.
    """
    if path.is_dir():
        return
    if path.exists():
        msg = f"{path}: is a file; give a folder with -o"
        raise InputError(msg)
    if path.name.lower().endswith(FILE_ENDINGS):
        msg = f"{path}: has the name of a file, and the output is a folder; leave the ending out"
        raise InputError(msg)


def remove_half_written(folder: Path, *names: str) -> None:
    """Remove the temporary files of `replacing` that killed processes left.

    Args:
        folder: only this process may write there.
        names: patterns of the final file names.
    """
    for name in names:
        for file in folder.glob(f".{'[0-9a-f]' * _RANDOM_DIGITS}.{name}"):
            file.unlink(missing_ok=True)


def case_of_file(file: Path) -> str:
    """Return the case of a label map: the name of its file without the ending, one of `IMAGE_ENDINGS`."""
    return file.name.removesuffix(".gz").removesuffix(".nii")


def visible_files(folder: Path, ending: str) -> list[Path]:
    """Return the files of a folder that have an ending, sorted by name; none where the folder is not there.

    Hidden ones are left out: half-written ones, and those ``._NAME`` that macOS adds on disks of other systems.
    """
    return sorted(file for file in folder.glob(f"*{ending}") if not file.name.startswith("."))


def link_or_copy(source: Path, destination: Path) -> None:
    """Make a hard link, or a copy where hard links are not possible (another file system, or one without them)."""
    try:
        os.link(source.resolve(), destination)
    except OSError:
        shutil.copyfile(source, destination)


def file_state(path: Path) -> list[int]:
    """Return size and time of change in ns, which tell whether another file has taken its place."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def write_text(text: str, path: Path) -> None:
    """Write a text file, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def with_nulls(content: Any) -> Any:  # noqa: ANN401 (whatever json can write)
    """Return content with null for each number that JSON does not have: NaN and the infinities."""
    if isinstance(content, Mapping):
        return {key: with_nulls(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [with_nulls(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


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
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested too deep
        msg = f"{path}: not valid JSON ({error}); restore the file or make it again"
        raise InputError(msg) from error


def read_json_in_turn(path: Path, *, tries: int = 20) -> Any:  # noqa: ANN401 (whatever the file holds)
    """Read a JSON file that another process may be writing in place at this moment, as nnU-Net does.

    Raises:
        InputError: the file is missing, or is still not JSON after a second.
    """
    for _ in range(tries - 1):
        with suppress(InputError):
            return read_json(path)
        time.sleep(_SECONDS_BETWEEN_TRIES)
    return read_json(path)


_UNPACKED = ".nii"


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
    return _identity(stat, digest(path))


def identity_of_content(content: bytes, stat: os.stat_result) -> dict[str, Any]:
    """Return what `identity_of` returns of a file that has this content, without reading it."""
    return _identity(stat, hashlib.sha256(content).hexdigest())


def _identity(stat: os.stat_result, sha256: str) -> dict[str, Any]:
    return {"bytes": stat.st_size, "modified_ns": stat.st_mtime_ns, "sha256": sha256}


def is_same(known: Any, path: Path) -> bool:  # noqa: ANN401 (JSON may hold anything)
    """Tell whether a file exists and has the bytes that `identity_of` noted; False where the note is damaged.

    Of a file of the same size and time, such as most are, the bytes are not read; but for images that are not packed:
    these have one size whatever they show, and archives and copies may set the time.
    """
    try:
        stat = path.stat()
        if stat.st_size != known["bytes"] or not isinstance(known["sha256"], str):
            return False
        same_time = bool(stat.st_mtime_ns == known["modified_ns"]) and path.suffix.lower() != _UNPACKED
        return same_time or digest(path) == known["sha256"]
    except (OSError, LookupError, TypeError):
        return False
