"""What ``run.json`` notes about a case that holds for every label map that comes of it, whatever step writes it."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

IMAGES = "images"
"""Entry of a case: channel → identity of the image that was predicted."""
ABSENT = "absent"
"""Entry of a case: the names of the sequences that it lacks. Where there is no such entry, nobody knows."""
IMAGE_WARNINGS, WARNINGS = "image_warnings", "warnings"
"""Entries of a case: what is odd about its images, and that with what is odd about its label map."""
MADE_WITH = "made_with"
"""Entry of a case: the identities of all weights that predicted it, of each fold and model."""


def weights_setting(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the setting that keeps label maps of other weights out of one folder; none where no weights are known.

    Args:
        entries: in ``run.json`` of the steps before, of all label maps that go into these.
    """
    weights = sorted(map(str, with_notes_of_case(entries).get(MADE_WITH, ())))
    return {MADE_WITH: weights} if weights else {}


def with_notes_of_case(entries: Iterable[Mapping[str, Any]], warnings: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a step notes of a case: all that is known of its images and weights, and its own warnings.

    Args:
        entries: of the case in ``run.json`` of the steps before, one for each label map that goes into this one's.
        warnings: of this step about its label map.
    """
    entries = list(entries)
    notes = {}
    for key in (ABSENT, IMAGE_WARNINGS, MADE_WITH):
        lists = [entry[key] for entry in entries if isinstance(entry.get(key), list)]
        if lists:
            notes[key] = list(dict.fromkeys(chain(*lists)))
    images = next((entry[IMAGES] for entry in entries if isinstance(entry.get(IMAGES), Mapping)), None)
    return {
        **({} if images is None else {IMAGES: images}),
        **notes,
        WARNINGS: [*notes.get(IMAGE_WARNINGS, []), *warnings],
    }


TRAINING_CASE = "a training case?"
"""Kind of warning by which ``predict`` notes a case of the name of one that the model was trained on."""


def is_training_case(warnings: Iterable[str]) -> bool:
    """Tell whether one of the warnings about a case says that the model may have been trained on it."""
    return any(warning.startswith(TRAINING_CASE) for warning in warnings)
