"""Pack the code that runs here as a wheel, with no build tool and no network; an editable install can be packed, too.

A wheel is a zip of the packages and of a folder that describes them. The description is that of the installation.
"""

import base64
import hashlib
import importlib.util
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import replacing

DISTRIBUTION = "nnunet-resunet-ds"
PACKAGES = ("nnunet_resunet_ds", "dataset_conversion", "postprocessing")
_MODULE_NAME = "nnunet_resunet_ds"
_START, _INSTALLED_START = "discovery.pth", "nnunet_resunet_ds_discovery.pth"
"""What Python runs at its start, so that nnU-Net finds the trainers; installed, it lies next to the packages."""
_WHEEL = "Wheel-Version: 1.0\nGenerator: resunet-ds submission\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_TIME = (1980, 1, 1, 0, 0, 0)
"""Of every file, so that the same code makes the same wheel."""


def installation() -> Distribution:
    """Return what is installed of this package.

    Raises:
        InputError: nothing is.
    """
    try:
        return distribution(DISTRIBUTION)
    except PackageNotFoundError as error:
        msg = f"{DISTRIBUTION} runs here and is not installed, so its version is not known: pip install -e FOLDER"
        raise InputError(msg) from error


def write_wheel(folder: Path) -> Path:
    """Write ``nnunet_resunet_ds-VERSION-py3-none-any.whl`` and return it.

    Raises:
        InputError: the package is not installed.
    """
    installed = installation()
    described = f"{_MODULE_NAME}-{installed.version}.dist-info"
    path = folder / f"{_MODULE_NAME}-{installed.version}-py3-none-any.whl"
    record = []
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (*_code(), *_description(installed, described)):
            archive.writestr(zipfile.ZipInfo(name, _TIME), content, zipfile.ZIP_DEFLATED)
            hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={hashed},{len(content)}\n")
        record.append(f"{described}/RECORD,,\n")
        archive.writestr(zipfile.ZipInfo(f"{described}/RECORD", _TIME), "".join(record))
    return path


def _code() -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file of the packages, from where they are imported."""
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.origin is not None  # this module is of one of them
        root = Path(spec.origin).parent
        for file in sorted(root.rglob("*")):
            inside = file.relative_to(root)
            is_left_out = any(part in ("__pycache__", _START) or part.startswith(".") for part in inside.parts)
            if file.is_file() and not is_left_out:
                yield f"{package}/{inside.as_posix()}", file.read_bytes()
    yield _INSTALLED_START, _start().read_bytes()


def _start() -> Path:
    """Return the file that Python runs at its start: in the source tree, or next to the installed packages."""
    package = Path(__file__).parents[1]
    in_source = package / _START
    return in_source if in_source.is_file() else package.with_name(_INSTALLED_START)


def _description(installed: Distribution, folder: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file that describes the packages."""
    yield f"{folder}/METADATA", (installed.read_text("METADATA") or "").encode()
    yield f"{folder}/WHEEL", _WHEEL.encode()
    yield f"{folder}/entry_points.txt", (installed.read_text("entry_points.txt") or "").encode()
    for file in installed.files or ():
        if "licenses" in file.parts:
            yield f"{folder}/licenses/{file.name}", Path(str(file.locate())).read_bytes()
