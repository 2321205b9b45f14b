"""The marker ``netem``: which ones hold for a test, and in what order. PYTEST_DONT_REWRITE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REGISTRATION = (
    'netem(delay="100ms", jitter=, loss="1%", rtt=, rate="10mbit", duplicate=, corrupt=, reorder=, preset="lte", '
    'profile="wan.yaml", pods="app=web", to="app=db", from_=, ports="tcp/5432", direction=, name=, when=, ...): '
    "impair the network of these pods for this test, prove that it took effect, heal it afterwards; "
    "netem(None) switches inherited markers off"
)
UNNAMED = "netem"


class Declared(NamedTuple):
    """One marker that holds for a test.

    :ivar name: as given by ``name=``, or ``netem``, ``netem-2`` ... :ivar arguments: the marker's keywords.
    :ivar order: (level, line): module before class before function, top line first.
    """

    name: str
    arguments: Mapping[str, Any]
    order: tuple[int, int]


def declared(item: pytest.Item) -> list[Declared]:
    """The markers that hold for a test, farthest level first."""
    held: list[tuple[int, int, str, pytest.Mark]] = []
    for level, marks in enumerate(_levels(item)):
        if not marks:
            continue
        names = {_name(mark) for mark in marks}
        off = any(mark.args and mark.args[0] is None for mark in marks)
        held = [] if off else [entry for entry in held if entry[2] not in names]
        held += [(level, line, _name(mark), mark) for line, mark in enumerate(marks) if not _is_off(mark)]
    unnamed = 0
    found = []
    for level, line, name, mark in held:
        own = name
        if not mark.kwargs.get("name"):
            unnamed += 1
            own = UNNAMED if unnamed == 1 else f"{UNNAMED}-{unnamed}"
        found.append(Declared(own, _arguments(mark), (level, line)))
    return found


def _is_off(mark: pytest.Mark) -> bool:
    return bool(mark.args) and mark.args[0] is None and not mark.kwargs


def _name(mark: pytest.Mark) -> str:
    return str(mark.kwargs.get("name") or UNNAMED)


def _arguments(mark: pytest.Mark) -> dict[str, Any]:
    """Keywords; a positional argument is kept under ``*``, for the error message to name."""
    arguments = {key: value for key, value in mark.kwargs.items() if key != "name"}
    return {**arguments, "*": mark.args} if mark.args else arguments


def _levels(item: pytest.Item) -> Iterator[list[pytest.Mark]]:
    """Markers per level from session to test and its parameters, each level from its top line down."""
    params = tuple(getattr(getattr(item, "callspec", None), "marks", ()))
    for node in item.listchain():
        own = [mark for mark in node.own_markers if mark.name == "netem" and not any(mark is p for p in params)]
        yield own if _written_as_list(node) else own[::-1]
    yield [_mark(mark) for mark in params if mark.name == "netem"]


def _mark(mark: pytest.Mark | pytest.MarkDecorator) -> pytest.Mark:
    return mark.mark if isinstance(mark, pytest.MarkDecorator) else mark


def _written_as_list(node: object) -> bool:
    """Whether its markers are a ``pytestmark`` list in a body, which reads downwards; decorators are stored upwards."""
    written = getattr(getattr(node, "obj", None), "pytestmark", ())
    return isinstance(node, pytest.Module | pytest.Package) or any(
        isinstance(mark, pytest.MarkDecorator) for mark in (written if isinstance(written, list) else [written])
    )
