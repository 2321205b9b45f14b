"""Any JSON value, and what becomes of a good one when somebody meddles with it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

NAMES = st.sampled_from(
    ["id", "op", "target", "plan", "stages", "classes", "spec", "name", "delay", "x", ""]
) | st.text(max_size=4)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "0", "-1", "100ms", "1%", "t", "eth0", "owner", "10.0.0.0/8", "a" * 300, "\ud800", "\0"]),
    st.text(max_size=6),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every part of a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


@st.composite
def meddled(draw: st.DrawFn, good: Any, values: st.SearchStrategy[Any] = VALUES, most: int = 3) -> Any:
    """A good value with up to ``most`` of its parts replaced, left out, doubled or added to."""
    value = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, most))):
        path = draw(st.sampled_from(list(places(value))))
        if not path:
            if isinstance(value, dict):
                value[draw(NAMES)] = draw(values)
            continue
        parent = value
        for key in path[:-1]:
            parent = parent[key]
        match draw(st.sampled_from(["replace", "leave out", "double", "add"])):
            case "replace":
                parent[path[-1]] = draw(values)
            case "leave out":
                del parent[path[-1]]
            case "double" if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[path[-1]]))
            case _ if isinstance(parent, dict):
                parent[draw(NAMES)] = draw(values)
    return value
