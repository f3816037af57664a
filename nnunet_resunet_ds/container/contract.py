"""What a container of BraTS 2024 to 2026 is given and has to write, and the names of the files that keep to it.

``/input`` is read-only, with a folder a case. ``/output`` is to hold one label map a case, ``CASE.nii.gz``, in the
values of the edition and on the grid of its images, and nothing else. There is no network. Exit code 0: every case is
written.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dataset_conversion.editions import EDITIONS, Edition
from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json

ENTRY_POINT, SETTINGS, MODELS = "entrypoint.py", "container.json", "models"
DOCKERFILE, APPTAINER, README, REQUIREMENTS = "Dockerfile", "apptainer.def", "README.md", "requirements.txt"
INSIDE = "/opt/resunet-ds"
"""Where these files lie in the container."""
REMEDY = "write it again: resunet-ds submission --container OUT -m MODEL --edition EDITION"


@dataclass(frozen=True, kw_only=True)
class ContainerSettings:
    """What ``container.json`` tells the entry point."""

    edition: str
    """Key of the edition, of the file names and of the label values."""
    suffix: str
    """What stands between case id and ``.nii.gz`` of a label map."""
    models: tuple[str, ...]
    """Model folders, from the folder of ``container.json`` on."""
    flags: tuple[str, ...]
    """Further words for ``resunet-ds predict``."""
    absent: tuple[str, ...]
    """Sequences that a case may lack."""
    version: str = __version__

    def to_mapping(self) -> dict[str, Any]:
        """Return what stands in the file."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def read_settings(folder: Path) -> ContainerSettings:
    """Return the settings of a container's folder.

    Raises:
        InputError: the folder is not that of a container, or the file is damaged.
    """
    file = folder / SETTINGS
    if not folder.is_dir():
        msg = f"{folder}: no such folder; give the one that resunet-ds submission --container wrote"
        raise InputError(msg)
    if not file.is_file():
        msg = f"{folder}: has no {SETTINGS}, so it is no container of ours; {REMEDY}"
        raise InputError(msg)
    content = read_json(file)
    names = {entry.name for entry in fields(ContainerSettings)}
    if not isinstance(content, dict) or content.keys() != names or not _are_of_type(content):
        msg = f"{file}: damaged; it must have {', '.join(sorted(names))}; {REMEDY}"
        raise InputError(msg)
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }
    return ContainerSettings(**values)


def _are_of_type(content: dict[str, Any]) -> bool:
    words = [content["edition"], content["suffix"], content["version"]]
    lists = [content["models"], content["flags"], content["absent"]]
    return all(isinstance(value, list) for value in lists) and all(
        isinstance(word, str) for word in (*words, *(word for value in lists for word in value))
    )


def edition_of_container(key: str) -> Edition:
    """Return the edition of a container, whose cases must be folders of files.

    Raises:
        InputError: no such edition, or several; or its cases are not folders.
    """
    known = [name for name, edition in EDITIONS.items() if not edition.folders]
    if key in known:
        return EDITIONS[key]
    similar = [name for name in known if key in (name[: len(key)], *EDITIONS[name].years)]
    msg = f"--edition {key}: a container is for one edition; choose from {', '.join(similar or known)}"
    raise InputError(msg)


def flags_of(absent: Sequence[str], *, no_tta: bool) -> tuple[str, ...]:
    """Return the words for ``resunet-ds predict`` that these choices are."""
    return (*(("--allow-missing", ",".join(absent)) if absent else ()), *(("--no-tta",) if no_tta else ()))
