"""Damaging files at random, for the tests of what readers do with them."""

import json
from copy import deepcopy

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

fuzz = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
fuzz_slowly = settings(fuzz, max_examples=60)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["../../escape", "/etc/passwd", "os.system", "a\0b", "<script>alert(1)</script>", "__class__"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)
"""Whatever JSON can hold."""


def places(content, path=()):
    """Yield the way to every value of a JSON document, the document itself first."""
    yield path
    children = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def replaced(content, path, value):
    """Return the document with the value at one place replaced; removed where it is `...`."""
    if not path:
        return value if value is not ... else {}
    content = deepcopy(content)
    parent = content
    for key in path[:-1]:
        parent = parent[key]
    if value is ...:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return content


@st.composite
def damaged_json(draw, content):
    """The text of a JSON document with up to three values replaced or removed, or cut short."""
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(content))))
        content = replaced(content, path, draw(st.one_of(VALUES, st.just(...))))
    text = json.dumps(content)
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text


@st.composite
def damaged_bytes(draw, content, first=0, last=None):
    """The bytes of a file with some between two places overwritten, or cut short, or with more behind them."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(first, (last or len(content)) - 1))
        some = draw(st.binary(min_size=1, max_size=8))
        content[place : place + len(some)] = some
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return bytes(content[: draw(st.integers(0, len(content)))])
    return bytes(content) + (draw(st.binary(max_size=64)) if kind == 1 else b"")
