"""Say in words, with the flags, in which settings two runs into one folder differ."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

_MOST_TOLD = 4
"""Numbers of post-processing: more would be a page."""
_LONGEST = 60
"""Characters of a value that is shown."""


def told_changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return a phrase for each setting, such as ``flips (--no-tta): then with, now without``.

    Args:
        then: the settings of the earlier run that differ.
        now: the same settings of this run.
    """
    return "; ".join(_WORDS.get(name, _told_as(name))(then[name], now[name]) for name in then)


def _told_as(title: str, shown: Callable[[Any], str] = str) -> Callable[[Any, Any], str]:
    """Return a function of (then, now) that returns a phrase such as ``tiles: then whole, now overlapping``.

    Of long values it says only that they differ.
    """

    def told(then: Any, now: Any) -> str:  # noqa: ANN401 (JSON may hold anything)
        words = [shown(value) for value in (then, now)]
        if max(map(len, words)) > _LONGEST or words[0] == words[1]:
            return f"{title}: another then"
        return f"{title}: then {words[0]}, now {words[1]}"

    return told


def _models(then: Any, now: Any) -> str:  # noqa: ANN401 (JSON may hold anything)
    """Say which of name, file and folds differs; the weights alone do where a model was trained again."""
    titles = {"name": "model (-d, -tr, -p, -c or -m)", "checkpoint": "file of weights (-chk)", "weights": "folds (-f)"}
    for key, title in titles.items():
        values = [_of_each(models, key) for models in (then, now)]
        if values[0] != values[1]:
            return _told_as(title)(*values)
    return "weights of the model: trained again since then"


def _of_each(models: Any, key: str) -> str:  # noqa: ANN401 (JSON may hold anything)
    """Return what the models have, one after the other."""
    entries = [model.get(key) for model in models] if isinstance(models, list) else [models]
    return " and ".join(", ".join(entry) if isinstance(entry, dict) else str(entry) for entry in entries)


def _postprocessing(then: Any, now: Any) -> str:  # noqa: ANN401 (JSON may hold anything)
    """Name each number of the post-processing that differs."""
    title = "post-processing (--config, --preset or a flag of it)"
    if not (isinstance(then, dict) and isinstance(now, dict)):
        return f"{title}: another then"
    values = [dict(_numbers(settings)) for settings in (then, now)]
    differing = [name for name in {**values[0], **values[1]} if values[0].get(name) != values[1].get(name)]
    told = [
        f"{name} then {_or_off(values[0], name)}, now {_or_off(values[1], name)}" for name in differing[:_MOST_TOLD]
    ]
    more = f", and {len(differing) - _MOST_TOLD} more numbers" if len(differing) > _MOST_TOLD else ""
    return f"{title}: {', '.join(told) or 'another order of steps then'}{more}"


def _or_off(values: Mapping[str, Any], name: str) -> str:
    shown = str(values.get(name, "off"))
    return shown if len(shown) <= _LONGEST else "another"


def _numbers(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield name and value of each number, those of steps as ``ET components voxels``."""
    for name, value in settings.items():
        if name != "steps" or not isinstance(value, list):
            yield name, value
            continue
        for step in value:
            numbers = dict(step) if isinstance(step, dict) else {}
            kind = f"{numbers.pop('region', '')} {numbers.pop('step', step)}"
            yield from ((f"{kind} {field}", entry) for field, entry in numbers.items())


def _with_or_without(value: object) -> str:
    return "with" if value else "without"


def _named(value: object) -> str:
    """Return the names in a list or object, and any other value as it is."""
    return ", ".join(map(str, value)) if isinstance(value, Mapping | Sequence) and value else str(value)


_WORDS: Mapping[str, Callable[[Any, Any], str]] = {
    "made_by": _told_as("command"),
    "labels": _told_as("label values (--labels, of submission --edition)"),
    "custom_edition": _told_as("custom edition (--edition-file)", lambda value: "none" if value is None else "another"),
    "regions": _told_as("regions", _named),
    "models": _models,
    "made_with": lambda then, now: "weights that predicted the input: others then",
    "use_mirroring": _told_as("flips (--no-tta)", _with_or_without),
    "average": _told_as("average (--average)"),
    "tiles": _told_as("tiles (--tiles)"),
    "tile_step": _told_as("step between tiles (--tile-step)"),
    "postprocessing": _postprocessing,
    "method": _told_as("method (--method)"),
    "members": _told_as("folders that are joined, their labels or weights (--input-labels, --weights)", repr),
}
