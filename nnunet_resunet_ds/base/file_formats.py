"""Recognise files of other formats by name or bytes, and say how to make NIfTI images of them."""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nnunet_resunet_ds.base.files import IMAGE_ENDINGS

_MAX_FILES = 20_000
"""Files that are looked at in a folder: the message is wanted soon."""
_MAX_OPENED = 100
"""Files that are opened, where the name tells nothing: DICOM files often have no ending."""
_RENAME = "rename them so, or describe the names in a file for --edition-file (docs/how_to/other_data.md)"


class FileFormat(NamedTuple):
    """A kind of file that is given in place of NIfTI images."""

    name: str
    """Of one, with its article."""
    plural: str
    endings: tuple[str, ...]
    """Of file names, in lower case."""
    signs: tuple[tuple[int, bytes], ...]
    """Place in the file and the bytes there, in lower case; any of them is enough."""
    advice: str
    """How to make NIfTI of it."""


_CONVERT = "convert it with python -c \"import SimpleITK as s; s.WriteImage(s.ReadImage('IN'), 'OUT.nii.gz')\""
FORMATS = (
    FileFormat(
        "a DICOM file", "DICOM files", (".dcm", ".ima"), ((128, b"dicm"),),
        "convert the folder of its series with dcm2niix -z y -o OUT FOLDER",
    ),
    FileFormat("an NRRD image", "NRRD images", (".nrrd", ".nhdr"), ((0, b"nrrd"),), _CONVERT),
    FileFormat("a MetaImage", "MetaImages", (".mha", ".mhd"), ((0, b"objecttype ="), (0, b"ndims")), _CONVERT),
    FileFormat(
        "a FreeSurfer image", "FreeSurfer images", (".mgz", ".mgh"), (), "convert it with mri_convert IN OUT.nii.gz",
    ),
    FileFormat(
        "a tar archive", "tar archives", (".tar", ".tar.gz", ".tgz"), ((257, b"ustar"),), "unpack it with tar -xf FILE",
    ),
    FileFormat(
        "a zip archive", "zip archives", (".zip",), ((0, b"pk\3\4"), (0, b"pk\5\6")), "unpack it with unzip FILE",
    ),
    FileFormat("a rar archive", "rar archives", (".rar",), ((0, b"rar!\x1a\x07"),), "unpack it with unrar x FILE"),
    FileFormat("a 7z archive", "7z archives", (".7z",), ((0, b"7z\xbc\xaf\x27\x1c"),), "unpack it with 7z x FILE"),
    FileFormat(
        "an HDF5 file", "HDF5 files", (".h5", ".hdf5", ".mat"), ((0, b"\x89hdf\r\n\x1a\n"),),
        "write its images as NIfTI with the program that made it",
    ),
    FileFormat(
        "a web page", "web pages", (".html", ".htm"), ((0, b"<!doctype html"), (0, b"<html")),
        "the download went wrong: log in where the data is and download the file again",
    ),
    FileFormat(
        "a pointer of Git LFS", "pointers of Git LFS", (), ((0, b"version https://git-lfs"),),
        "fetch the file itself with git lfs pull",
    ),
)  # fmt: skip
SIGN_BYTES = max(place + len(sign) for each in FORMATS for place, sign in each.signs)
"""From the start of a file, enough to tell any format."""


def format_of_bytes(content: bytes) -> FileFormat | None:
    """Tell what a file is by the first `SIGN_BYTES` of it, unpacked if it was gzipped."""
    start = content[:SIGN_BYTES].lower()
    return next((each for each in FORMATS if any(start.startswith(sign, place) for place, sign in each.signs)), None)


def format_of_name(name: str) -> FileFormat | None:
    """Tell what a file is by its name."""
    return next((each for each in FORMATS if each.endings and name.lower().endswith(each.endings)), None)


def not_a_folder(path: Path) -> str:
    """Say what is wrong with an input that should be a folder of cases and is none."""
    if not path.exists():
        return f"{path}: no such folder"
    found = format_of_name(path.name) or _by_content(path)
    if found is None:
        return f"{path}: is a file; give the folder that it lies in"
    return f"{path}: is {found.name}, not a folder of NIfTI images; {found.advice}"


def found_instead(folder: Path, *, with_nifti: bool = True) -> str:
    """Return ``; found N DICOM files, such as F: convert …`` of what most files of a folder are; empty where unknown.

    Args:
        folder: to look through, at any depth.
        with_nifti: speak of NIfTI images, too, whose names were not as expected.
    """
    by_format: dict[FileFormat, list[Path]] = defaultdict(list)
    nifti: list[Path] = []
    n_opened = 0
    for path in _files(folder):
        if path.name.lower().endswith(IMAGE_ENDINGS):
            nifti.append(path)
            continue
        found = format_of_name(path.name)
        if found is None and n_opened < _MAX_OPENED:
            n_opened += 1
            found = _by_content(path)
        if found:
            by_format[found].append(path)
    parts = []
    if by_format:
        most, paths = max(by_format.items(), key=lambda item: len(item[1]))
        parts.append(f"; found {_count(paths, most.name, most.plural)}: {most.advice}")
    if nifti and with_nifti:
        parts.append(f"; found {_count(nifti, 'a NIfTI image', 'NIfTI images')} with other names: {_RENAME}")
    return "".join(parts)


def _count(paths: list[Path], one: str, many: str) -> str:
    return f"{one} ({paths[0]})" if len(paths) == 1 else f"{len(paths)} {many} (such as {paths[0]})"


def _files(folder: Path) -> Iterator[Path]:
    """Yield the first files below a folder, hidden ones left out."""
    n_seen = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            n_seen += 1
            if n_seen > _MAX_FILES:
                return
            yield Path(parent, name)


def _by_content(path: Path) -> FileFormat | None:
    try:
        if not path.is_file():  # a pipe would never end
            return None
        with path.open("rb") as stream:
            return format_of_bytes(stream.read(SIGN_BYTES))
    except OSError:
        return None
