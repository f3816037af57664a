"""Keep which number format was chosen, in a file for all processes of this user, so that it is measured once."""

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json, write_json
from nnunet_resunet_ds.base.locks import in_turn
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.compute import BF16, FP32

CACHE_VARIABLE = "XDG_CACHE_HOME"
FOLDER, FILE = "nnunet-resunet-ds", "number_formats.json"
MAX_WAIT = 180.0
"""Seconds that a process waits while another one measures."""
_ASKED = "asked"

Asked = Mapping[str, str]
"""What a choice depends on: machine, software, network, input, and whether it is trained or predicts."""


@dataclass(frozen=True)
class Choice:
    """A number format, and why it was chosen."""

    number_format: str
    """fp32 or bf16."""
    why: str
    measured: str
    """Date."""


_known: dict[str, Choice] = {}
"""Of this process, by what was asked: no file can be written everywhere."""


def choices_file() -> Path | None:
    """Return the file, which need not be there; None where this user has no home."""
    try:
        folder = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache")
    except RuntimeError:
        return None
    return folder / FOLDER / FILE


def kept_choice(asked: Asked) -> Choice | None:
    """Return what was chosen here before; None where it was not, or where the file cannot be read or is damaged."""
    known = _known.get(_key(asked))
    if known is None:
        known = next((choice for of, choice in _entries() if of == asked), None)
    return known


def keep_choice(asked: Asked, choice: Choice) -> None:
    """Note a choice; where the file cannot be written, for this process alone."""
    _known[_key(asked)] = choice
    folder = _made_folder()
    if folder is None:
        return
    others = [(of, other) for of, other in _entries() if of != asked]
    content = [{_ASKED: dict(of), **asdict(one)} for of, one in [*others, (asked, choice)]]
    try:
        write_json(content, folder / FILE)
    except OSError as error:
        LOG.debug("%s: the number format is not kept: %s", folder, error)


def measuring_in_turn() -> AbstractContextManager[None]:
    """Let one process of this user at a time measure: two would disturb each other, and the second one finds the file.

    Where there can be no folder, nobody waits.
    """
    folder = _made_folder()
    return nullcontext() if folder is None else in_turn(folder, MAX_WAIT)


def _made_folder() -> Path | None:
    file = choices_file()
    if file is None:
        return None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return file.parent if os.access(file.parent, os.R_OK) else None


def _key(asked: Asked) -> str:
    return json.dumps(asked, sort_keys=True)


def _entries() -> list[tuple[Asked, Choice]]:
    """Return what the file holds, without entries that are damaged."""
    file = choices_file()
    try:
        content = read_json(file) if file is not None else []
    except (InputError, OSError):
        return []
    entries = (_entry(one) for one in content) if isinstance(content, list) else ()
    return [entry for entry in entries if entry is not None]


def _entry(content: Any) -> tuple[Asked, Choice] | None:  # noqa: ANN401 (JSON may hold anything)
    if not isinstance(content, dict) or not isinstance(content.get(_ASKED), dict):
        return None
    values = [content.get(name) for name in ("number_format", "why", "measured")]
    if not all(isinstance(value, str) for value in values) or values[0] not in (FP32, BF16):
        return None
    return content[_ASKED], Choice(*map(str, values))
