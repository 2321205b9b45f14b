"""JSON read and written by the short way is what :mod:`json` says it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_k8s_netem.model import jsontext

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
)
PIECES = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "\\",
    "\\u00",
    "1",
    "-",
    ".5",
    "e9",
    "NaN",
    "-Infinity",
    "true",
    " ",
    "\n",
    "\ufeff",
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=2)).map("".join)


def outcome(call: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[str, object]:
    try:
        return "", call(*arguments, **named)
    except (ValueError, TypeError, RecursionError) as error:
        return type(error).__name__, str(error)


def refused(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def finite(text: str) -> float:
    number = float(text)
    return refused(text) if number in (float("inf"), -float("inf")) else number


@given(VALUES.map(json.dumps) | TEXTS)
@example("")
@example(" \t\r\n{} ")
@example("\x0c{}")
@example("\ufeff{}")
@example('{"a": 1e999}')
@example("{} {}")
@example("{ ")
@example("[" * 100_000)
@example("9" * 5000)
@example('{"a": 1, "a": 2}')
def test_a_text_is_read_as_json_reads_it(text: str) -> None:
    assert outcome(jsontext.read, text) == outcome(json.loads, text, parse_constant=refused, parse_float=finite)


@given(VALUES)
@example({"a": float("nan")})
@example([float("inf")])
@example({2: "a", None: "b", True: "c", 1.5: "d"})
@example({(1, 2): "a"})
@example((1, (2, 3)))
@example({"a": {1, 2}})
def test_a_value_is_written_as_json_writes_it(value: object) -> None:
    assert outcome(jsontext.written, value) == outcome(json.dumps, value, separators=(",", ":"), allow_nan=False)


def test_a_python_without_those_parts_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsontext, "_PARTS", False)
    assert jsontext.read(' {"a": [1, 2.5, "\u20ac"]}') == {"a": [1, 2.5, "\u20ac"]}
    assert jsontext.written({"a": [1, 2.5, "\u20ac"]}) == '{"a":[1,2.5,"\\u20ac"]}'
    with pytest.raises(ValueError, match="NaN is no number of JSON"):
        jsontext.read("NaN")
