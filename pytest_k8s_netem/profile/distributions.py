"""Jitter's distributions by name, or as a user's own table, and back."""

from __future__ import annotations

from pytest_k8s_netem.model.tables import HIGHEST, LOWEST, MAX_SIZE, NAMES, Table, named, parse_dist
from pytest_k8s_netem.profile.findings import nearest, refusal, written

UNIFORM = "uniform"
CHOICES = (UNIFORM, *NAMES)
"""Every distribution that has a name of its own."""


def parse_distribution(value: object, path: str = "") -> Table | None:
    """``uniform`` (None), a named distribution, a list of whole numbers, or ``{"table": ..., "name": ...}``.

    A table is a list of numbers or the text of a ``.dist`` file (numbers, ``#`` to the end of the line is a comment);
    8192 is one jitter above the delay.

    :raises ConfigError: for anything else.
    """
    if isinstance(value, str) and value in CHOICES:
        return table_of(value)
    if isinstance(value, dict):
        return _own(value, path)
    if isinstance(value, list | tuple):
        return Table("user", _values(value, path))
    fix = nearest(value, CHOICES) if isinstance(value, str) else f"write {written(path, 'normal')}"
    raise refusal(path, value, "not a distribution", f"{fix}; or a table: a list of whole numbers, 8192 = one jitter")


def render_distribution(table: Table | None) -> object:
    """What :func:`parse_distribution` reads as this table."""
    if table is None:
        return UNIFORM
    if table.name in NAMES and table == named(table.name):
        return table.name
    return {"table": list(table.values), "name": table.name}


def table_of(name: str) -> Table | None:
    """The table of one of :data:`CHOICES`; None = uniform."""
    return None if name == UNIFORM else named(name)


def _own(value: dict[object, object], path: str) -> Table:
    if set(value) - {"table", "name"} or "table" not in value:
        raise refusal(path, value, "not a distribution", "a user's own is {table: [numbers], name: any}")
    name = value.get("name", "user")
    if not isinstance(name, str) or not name:
        raise refusal(f"{path}.name", name, "a distribution's name is text")
    table = value["table"]
    if isinstance(table, str):
        return _file(table, name, f"{path}.table")
    if not isinstance(table, list | tuple):
        raise refusal(f"{path}.table", table, "expected a list of whole numbers, or the text of a .dist file")
    return Table(name, _values(table, f"{path}.table"))


def _file(text: str, name: str, path: str) -> Table:
    try:
        return parse_dist(text, name)
    except ValueError as error:
        raise refusal(path, text, f"not a .dist file: {error}") from None


def _values(values: list[object] | tuple[object, ...], path: str) -> tuple[int, ...]:
    if not 1 <= len(values) <= MAX_SIZE:
        raise refusal(path, len(values), f"a table has between 1 and {MAX_SIZE} values")
    kept = []
    for at, value in enumerate(values):
        if type(value) is not int or not LOWEST <= value <= HIGHEST:
            raise refusal(f"{path}[{at}]", value, f"a table's values are whole numbers from {LOWEST} to {HIGHEST}")
        kept.append(value)
    return tuple(kept)
