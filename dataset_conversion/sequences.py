"""Tell which MR sequence of BraTS a channel is, and which channels may be absent from a case."""

import re
from collections.abc import Collection, Sequence

from dataset_conversion.editions import CHANNEL_NAMES
from nnunet_resunet_ds.base.errors import InputError

SYNONYMS = {
    "T1": ("t1", "t1n", "t1w"),
    "T1ce": ("t1ce", "t1c", "t1gd", "t1gad"),
    "T2": ("t2", "t2w"),
    "FLAIR": ("flair", "t2f", "t2flair", "fla"),
}
"""Channel name → the usual names of its sequence, the first one BraTS' own until 2021."""


def brats_channels(channels: Sequence[str]) -> tuple[str, ...]:
    """Return which of T1, T1ce, T2 and FLAIR each of a model's channels is, in the order of the model.

    Raises:
        InputError: one of them is none of these, or two are the same.
    """
    known = tuple(name for name in map(sequence_named, channels) if name is not None)
    if len(set(known)) < len(channels):
        msg = (
            f"the model's channels are {', '.join(channels)}, and which of {', '.join(CHANNEL_NAMES)} they are cannot "
            "be told: give the images as nnU-Net's CASE_0000.nii.gz …, in the model's order"
        )
        raise InputError(msg)
    return known


def sequence_named(word: str) -> str | None:
    """Return the channel name of a sequence by any of its usual names, such as T1ce of t1gd; None where it is none."""
    plain = re.sub("[^a-z0-9]", "", word.lower())
    return next((name for name, words in SYNONYMS.items() if plain in words), None)


def optional_channels(allow_missing: Collection[str], channels: Sequence[str]) -> tuple[str, ...]:
    """Return the channels that a case may lack, in their order.

    Args:
        allow_missing: names of sequences, as the user gives them; those that are not among the channels are left out.
        channels: of an edition or of a model.

    Raises:
        InputError: a name is neither that of a channel nor that of a sequence of BraTS.
    """
    unknown = [name for name in allow_missing if name not in channels and sequence_named(name) is None]
    if unknown:
        msg = f"--allow-missing {unknown[0]}: no such sequence; choose from {', '.join(channels)}"
        raise InputError(msg)
    sequences = {sequence_named(name) for name in allow_missing} - {None}
    return tuple(name for name in channels if name in allow_missing or sequence_named(name) in sequences)
