"""Read an edition that the user describes in a small TOML or JSON file (docs/how_to/other_data.md has an example)."""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataset_conversion.editions import CHANNEL_NAMES, Edition
from nnunet_resunet_ds.base.errors import InputError, said_of
from nnunet_resunet_ds.base.regions import REGIONS, TC, WT, Region, Tissue
from nnunet_resunet_ds.base.setting_checks import check_entries, check_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CUSTOM = "custom"
_NEEDED = ("images", "segmentation", "labels")
_ENTRIES = (*_NEEDED, "title", "regions", "case_id")
_TISSUES = (Tissue.NCR, Tissue.ED, Tissue.ET)
_RESERVED = {WT.name, TC.name, "background", "ignore", *(region.long_name for region in REGIONS)}
"""Names that mean something else in ``dataset.json``."""
_MAX_RAW_VALUE = 255
"""Submissions are uint8."""


def read_custom_edition(path: Path) -> Edition:
    """Read the description of an edition.

    Raises:
        InputError: the file cannot be read, or its entries do not describe an edition.
    """
    content = _read(path)
    with said_of(path):
        return custom_edition(content)


def custom_edition(content: object) -> Edition:
    """Make an edition from what a description holds.

    Args:
        content: ``images`` (channel → suffix), ``segmentation`` (suffix) and ``labels`` (tissue → raw value:
            NCR, ED, ET and at most one further tissue); optional ``title``, ``regions`` (region → tissues) and
            ``case_id`` (regular expression, the group ``patient`` being what the time points of a patient share).

    Raises:
        InputError: an entry is missing, unknown or not as described.
    """
    if not isinstance(content, Mapping):
        msg = f"a description has entries by name; got {content!r}"
        raise InputError(msg)
    check_entries("unknown entries", content, _ENTRIES)
    missing = [name for name in _NEEDED if name not in content]
    if missing:
        msg = f"missing entries: {', '.join(missing)}"
        raise InputError(msg)
    tissues = _tissues(content["labels"])
    suffixes = [*_suffixes(content["images"]).values(), _text("segmentation", content["segmentation"])]
    if len({suffix.lower() for suffix in suffixes}) < len(suffixes):
        msg = f"each channel and the segmentation need a suffix of their own; got {', '.join(suffixes)}"
        raise InputError(msg)
    return Edition(
        key=CUSTOM,
        title=_text("title", content.get("title", "Custom")),
        image_suffixes=_suffixes(content["images"]),
        segmentation_suffix=_text("segmentation", content["segmentation"]),
        tissues={0: Tissue.BACKGROUND, **{raw: tissue for tissue, raw in tissues.values()}},
        case_id=_pattern(content.get("case_id", ".+")),
        regions=_regions(content.get("regions", {}), {name: tissue for name, (tissue, _) in tissues.items()}),
        bare_names=True,
        description=dict(content),
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror})"
        raise InputError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path}: not valid {'JSON' if path.suffix.lower() == '.json' else 'TOML'} ({error})"
        raise InputError(msg) from error
    return _table(f"{path}: the whole", content)


def _table(what: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        msg = f"{what} must be a table of names and values; got {value!r}"
        raise InputError(msg)
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value or any(sign in value for sign in "/\\\0\n"):
        msg = f"{name} must be a text without slashes; got {value!r}"
        raise InputError(msg)
    return value


def _suffixes(value: object) -> dict[str, str]:
    given = _table("images", value)
    check_entries("images has unknown channels", given, CHANNEL_NAMES)
    missing = [name for name in CHANNEL_NAMES if name not in given]
    if missing:
        msg = f"images lacks {', '.join(missing)}; all of {', '.join(CHANNEL_NAMES)} are needed"
        raise InputError(msg)
    return {name: _text(f"images.{name}", given[name]) for name in CHANNEL_NAMES}


def _tissues(value: object) -> dict[str, tuple[Tissue, int]]:
    """Return the tissue and its raw value by name; any other than NCR, ED and ET is `Tissue.FURTHER`."""
    given = _table("labels", value)
    names = [tissue.name for tissue in _TISSUES]
    further = [name for name in given if name not in names]
    if len(further) > 1 or not set(names) <= set(given) or {*further} & _RESERVED:
        msg = f"labels must have {', '.join(names)} and at most one further tissue; got {', '.join(given) or 'none'}"
        raise InputError(msg)
    for name in further:
        check_name("the name of a tissue", name)
    values = list(given.values())
    if not all(type(raw) is int and 1 <= raw <= _MAX_RAW_VALUE for raw in values) or len(set(values)) < len(values):
        msg = f"labels must be different whole numbers from 1 to {_MAX_RAW_VALUE}; got {values}"
        raise InputError(msg)
    by_name = {tissue.name: tissue for tissue in _TISSUES} | dict.fromkeys(further, Tissue.FURTHER)
    return {name: (by_name[name], raw) for name, raw in given.items()}


def _regions(value: object, tissues: Mapping[str, Tissue]) -> tuple[Region, ...]:
    """Return WT, TC, ET and, where there is a further tissue, its own region; WT and TC may include that tissue."""
    given = _table("regions", value)
    further = [name for name, tissue in tissues.items() if tissue is Tissue.FURTHER]
    defaults = (*REGIONS, *(Region(name, name, (Tissue.FURTHER,)) for name in further))
    check_entries("regions has unknown entries", given, [default.name for default in defaults])
    regions = tuple(_region(default, given.get(default.name), tissues) for default in defaults)
    for region, default in zip(regions, defaults, strict=True):
        added = set(region.tissues) ^ set(default.tissues)
        if added and not (added == {Tissue.FURTHER} and default in (WT, TC)):
            held = ", ".join(name for name, tissue in tissues.items() if tissue in default.tissues)
            msg = f"regions.{default.name} must hold {held}; only WT and TC may hold a further tissue as well"
            raise InputError(msg)
    if not set(regions[1].tissues) <= set(regions[0].tissues):
        msg = f"regions.{TC.name} must lie within regions.{WT.name}"
        raise InputError(msg)
    return regions


def _region(default: Region, names: object, tissues: Mapping[str, Tissue]) -> Region:
    if names is None:
        return default
    if not isinstance(names, list) or not all(isinstance(name, str) and name in tissues for name in names):
        msg = f"regions.{default.name} must be a list of {', '.join(tissues)}; got {names!r}"
        raise InputError(msg)
    return Region(default.name, default.long_name, tuple(sorted({tissues[name] for name in names})))


def _pattern(value: object) -> re.Pattern[str]:
    try:
        return re.compile(value)  # type: ignore[call-overload,no-any-return]
    except (re.error, TypeError) as error:
        msg = f"case_id must be a regular expression ({error}); got {value!r}"
        raise InputError(msg) from error
