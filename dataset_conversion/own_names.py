"""Find files of a user's own: named by their sequence in any usual way, whatever the case ids."""

import re
from dataclasses import replace
from itertools import chain

from dataset_conversion.editions import CHANNEL_NAMES, EDITIONS, NNUNET_SCHEME, SEGMENTATION, Edition
from dataset_conversion.precedence import longest_suffix
from dataset_conversion.sequences import SYNONYMS

_FURTHER = {
    "T1ce": ("_ce-gd_t1w", "_ce-gadolinium_t1w"),
    "FLAIR": ("_t2_flair", "-t2-flair"),
    SEGMENTATION: ("_dseg",),
}


def _suffixes(role: str) -> tuple[str, ...]:
    """Return what the name of a file of a role may end in, the usual ones first."""
    usual = (f"{sign}{word}" for word in SYNONYMS.get(role, ()) for sign in "_-")
    of_editions = (suffix.lower() for edition in EDITIONS.values() for suffix in _of_edition(edition, role) if suffix)
    return tuple(dict.fromkeys(chain(usual, of_editions, _FURTHER.get(role, ()))))


def _of_edition(edition: Edition, role: str) -> tuple[str, ...]:
    return edition.suffixes_of(role) if role in edition.suffixes else ()


_SUFFIXES = {role: _suffixes(role) for role in (*CHANNEL_NAMES, SEGMENTATION)}

OWN = Edition(
    key="own",
    title="data of your own",
    image_suffixes={channel: _SUFFIXES[channel][0] for channel in CHANNEL_NAMES},
    segmentation_suffix=_SUFFIXES[SEGMENTATION][0],
    alternatives={role: tuple(others) for role, (_, *others) in _SUFFIXES.items()},
    tissues=NNUNET_SCHEME,
    case_id=re.compile(".+"),
    bare_names=True,
)
"""How files of a user's own are named; what their label values mean, names do not tell."""


def case_of_segmentation(stem: str) -> str:
    """Return the case by the name of a segmentation without its ending: P001 of ``P001_seg``, and of ``P001``."""
    suffix = longest_suffix(stem, OWN.suffixes_of(SEGMENTATION))
    return stem if suffix is None else stem[: -len(suffix)]


def with_own_names(edition: Edition) -> Edition:
    """Return an edition whose files are named as those of a user's own; all else is its own, label values above all."""
    return replace(
        edition,
        image_suffixes={channel: OWN.image_suffixes[channel] for channel in edition.channels},
        segmentation_suffix=OWN.segmentation_suffix,
        alternatives=OWN.alternatives,
        bare_names=True,
    )
