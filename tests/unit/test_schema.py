"""The schema, as far as it can be judged without an API server; tests/apiserver/test_definition.py has one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_k8s_netem.profile.builtin import READERS
from pytest_k8s_netem.profile.cel import between
from pytest_k8s_netem.profile.schema import NAME, definition, schema
from pytest_k8s_netem.profile.spec import KEYS
from pytest_k8s_netem.profile.vocabulary import FIELDS


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 2 * 10**6))
def test_between_is_between(first: int, second: int, number: int) -> None:
    low, high = sorted((first, second))
    assert bool(re.fullmatch(between(low, high), str(number))) == (low <= number <= high)


@pytest.mark.parametrize("number", [0, 1, 2**32 - 1, 2**32, 4294967300])
def test_between_at_its_ends(number: int) -> None:
    assert bool(re.fullmatch(between(1, 2**32 - 1), str(number))) == (1 <= number < 2**32)


def nodes(part: Any, path: str = "spec") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of the schema that is named or listed, with its path."""
    yield path, part
    for name, inner in part.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    if "items" in part:
        yield from nodes(part["items"], f"{path}[]")


SPEC = schema()["properties"]["spec"]


def test_every_field_is_explained() -> None:
    lacking = [path for path, part in nodes(SPEC) if not path.endswith("[]") and not part.get("description")]
    assert lacking == []


def test_every_object_keeps_unknown_fields() -> None:
    objects = [(path, part) for path, part in nodes(SPEC) if part.get("type") == "object"]
    free = [path for path, part in objects if not part.get("x-kubernetes-preserve-unknown-fields")]
    assert {path.rpartition(".")[2] for path in free} == {"matchLabels"}  # has no unknown fields


def test_every_word_has_its_place() -> None:
    fields = SPEC["properties"]
    assert {*KEYS, "impairment", "type", "parameters"} == {*fields}
    assert {*FIELDS} < {*fields["impairment"]["properties"]}
    assert {*READERS} == {*fields["parameters"]["properties"]["netem"]["properties"]}


def test_names() -> None:
    made = definition()
    assert made["metadata"]["name"] == NAME == "trafficprofiles.k8s-netem.riasc.eu"
    assert made["spec"]["names"]["shortNames"] == ["tp", "tps"]
