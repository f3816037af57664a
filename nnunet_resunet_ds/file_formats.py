"""Files that are no NIfTI images: what they are, by name or by their bytes, and what to do with them. Data."""

from typing import NamedTuple


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
