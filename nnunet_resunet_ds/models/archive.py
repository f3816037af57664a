"""A model in one zip: below ``DATASET/TRAINER__PLANS__CONFIGURATION``, as nnU-Net's own; ours notes a digest a file.

Nothing in it is unpacked but the files that a model has, by their names.
"""

import json
import lzma
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from nnunet_resunet_ds.base.errors import InputError, first_line
from nnunet_resunet_ds.base.files import digest, replacing

CONTENTS = "package.json"
"""The digests, at the top of our zip; nnU-Net's has none."""
_MODEL_FILE = re.compile(
    r"(?P<model>Dataset\d{3,}_[^/\\]+/[^/\\]+__[^/\\]+__[^/\\]+)/"
    r"((plans|dataset|dataset_fingerprint|postprocessing|expected_dice|model_card)\.json|MODEL_CARD\.md"
    r"|fold_(\d+|all)/(checkpoint_\w+\.(pth|safetensors)|validation/summary\.json))"
)
_WEIGHTS = (".pth", ".safetensors")
"""Hardly become smaller by packing."""
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, lzma.LZMAError, EOFError),
    *(AttributeError, LookupError, TypeError, ValueError, OverflowError, RuntimeError),
)
"""What reading a damaged zip raises; encrypted files and unknown methods are RuntimeErrors."""
_SAME_TIME = (1980, 1, 1, 0, 0, 0)
"""Of every file, so that the same model makes the same zip."""


def write_archive(model: str, files: Mapping[str, Path], output: Path, *, with_digests: bool) -> None:
    """Write files into a zip.

    Args:
        model: ``DATASET/TRAINER__PLANS__CONFIGURATION``.
        files: path below that → file.
        output: the zip.
        with_digests: note the digest of each.
    """
    digests = {f"{model}/{name}": digest(file) for name, file in files.items()}
    with replacing(output) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        if with_digests:
            archive.writestr(_entry(CONTENTS), json.dumps({"model": model, "sha256": digests}, indent=2))
        for name, file in files.items():
            with file.open("rb") as source, archive.open(_entry(f"{model}/{name}"), "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target)


def unpack(archive: Path, folder: Path) -> Iterator[Path]:
    """Unpack the files of models, check their digests where there are any, and yield the folder of each model.

    Raises:
        InputError: it is no zip, is damaged, holds no model, or a file is not what its digest says.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            names = [name for name in content.namelist() if _MODEL_FILE.fullmatch(name)]
            digests = dict(json.loads(content.read(CONTENTS))["sha256"]) if CONTENTS in content.namelist() else None
            _check_named_once(names)
            _check_space(archive, sum(content.getinfo(name).file_size for name in names), folder)
            for name in names:
                _unpack_one(content, name, folder)
    except InputError:
        raise
    except (FileNotFoundError, IsADirectoryError) as error:
        msg = f"{archive}: no such file"
        raise InputError(msg) from error
    except _DAMAGE as error:
        msg = f"{archive}: not a zip of a model, or damaged ({first_line(error)}); copy or download it again"
        raise InputError(msg) from error
    if digests is not None:
        _check_digests(archive, folder, names, digests)
    models = sorted({match["model"] for name in names if (match := _MODEL_FILE.fullmatch(name))})
    if not models:
        msg = f"{archive}: holds no model; expected DatasetXXX_NAME/TRAINER__PLANS__CONFIGURATION in it"
        raise InputError(msg)
    yield from (folder / model for model in models)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _SAME_TIME)
    entry.compress_type = zipfile.ZIP_STORED if name.endswith(_WEIGHTS) else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _check_named_once(names: list[str]) -> None:
    if len(set(names)) < len(names):
        msg = "a name is there twice"
        raise ValueError(msg)


def _unpack_one(content: zipfile.ZipFile, name: str, folder: Path) -> None:
    target = folder / PurePosixPath(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with content.open(name) as source, target.open("xb") as stream:
        shutil.copyfileobj(source, stream)


def _check_space(archive: Path, n_bytes: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        msg = f"{archive}: needs {n_bytes / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free; make space on this disk"
        raise InputError(msg)


def _check_digests(archive: Path, folder: Path, names: list[str], digests: Mapping[str, str]) -> None:
    for name in dict.fromkeys([*digests, *names]):
        file = folder / PurePosixPath(name) if name in names else None
        if file is None or digest(file) != digests.get(name):
            what = "is missing" if file is None else "is not the one that was packed"
            msg = f"{archive}: {name} {what}; copy or download the file again"
            raise InputError(msg)
