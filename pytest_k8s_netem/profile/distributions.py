"""Jitter's distributions as netem's tables: the three named ones computed, a user's own checked."""

from __future__ import annotations

import math
import re
from functools import cache
from statistics import NormalDist

from pytest_k8s_netem.model.tables import MAX_SIZE, SCALE, Table
from pytest_k8s_netem.profile.findings import nearest, refusal, written

SAMPLES = 4096
"""Values of a named table, as many as the tables that come with tc have."""
_LIMIT = 32767
_PARETO_SHAPE = 3.0
"""The smallest whole shape with a variance; tc's own table has it too."""
NAMED = ("normal", "pareto", "paretonormal")


def parse_distribution(value: object, path: str = "") -> Table | None:
    """``uniform`` (None), a named distribution, a list of whole numbers, or ``{"table": ..., "name": ...}``.

    A table is a list of numbers or the text of a ``.dist`` file (numbers, ``#`` to the end of the line is a comment);
    8192 is one jitter above the delay.

    :raises ConfigError: for anything else.
    """
    if isinstance(value, str) and value in ("uniform", *NAMED):
        return None if value == "uniform" else named(value)
    if isinstance(value, dict):
        return _own(value, path)
    if isinstance(value, list | tuple):
        return Table("user", _values(value, path))
    fix = nearest(value, ("uniform", *NAMED)) if isinstance(value, str) else f"write {written(path, 'normal')}"
    raise refusal(path, value, "not a distribution", f"{fix}; or a table: a list of whole numbers, 8192 = one jitter")


def render_distribution(table: Table | None) -> object:
    """What :func:`parse_distribution` reads as this table."""
    if table is None:
        return "uniform"
    if table.name in NAMED and table == named(table.name):
        return table.name
    return {"table": list(table.values), "name": table.name}


@cache
def named(name: str) -> Table:
    """The table of one of :data:`NAMED`: mean 0, standard deviation one jitter.

    Inverse cumulative function at the middles of :data:`SAMPLES` equal parts; values beyond 16 bits are cut.
    """
    quantiles = [(at + 0.5) / SAMPLES for at in range(SAMPLES)]
    draw = {"normal": NormalDist().inv_cdf, "pareto": _pareto, "paretonormal": _pareto_normal}[name]
    return Table(name, tuple(max(-_LIMIT, min(_LIMIT, round(draw(quantile) * SCALE))) for quantile in quantiles))


def _pareto(quantile: float) -> float:
    """Pareto of shape a, moved to mean 0 and scaled to variance 1 (mean a/(a-1), variance a/((a-1)^2 (a-2)))."""
    a = _PARETO_SHAPE
    sigma = math.sqrt(a / ((a - 1) ** 2 * (a - 2)))
    return (math.pow(1 - quantile, -1 / a) - a / (a - 1)) / sigma


def _pareto_normal(quantile: float) -> float:
    """A quarter normal, three quarters Pareto, quantile by quantile: the mixture that tc-netem(8) ships."""
    return 0.25 * NormalDist().inv_cdf(quantile) + 0.75 * _pareto(quantile)


def _own(value: dict[object, object], path: str) -> Table:
    if set(value) - {"table", "name"} or "table" not in value:
        raise refusal(path, value, "not a distribution", "a user's own is {table: [numbers], name: any}")
    name = value.get("name", "user")
    if not isinstance(name, str) or not name:
        raise refusal(f"{path}.name", name, "a distribution's name is text")
    table = value["table"]
    if isinstance(table, str):
        table = _numbers(table, f"{path}.table")
    if not isinstance(table, list | tuple):
        raise refusal(f"{path}.table", table, "expected a list of whole numbers, or the text of a .dist file")
    return Table(name, _values(table, f"{path}.table"))


def _numbers(text: str, path: str) -> list[int]:
    words = re.sub(r"#.*", "", text).split()
    for word in words:
        if not re.fullmatch(r"[+-]?[0-9]{1,6}", word):
            raise refusal(path, word, "not a whole number of a .dist file")
    return [int(word) for word in words]


def _values(values: list[object] | list[int] | tuple[object, ...], path: str) -> tuple[int, ...]:
    if not 1 <= len(values) <= MAX_SIZE:
        raise refusal(path, len(values), f"a table has between 1 and {MAX_SIZE} values")
    kept = []
    for at, value in enumerate(values):
        if type(value) is not int or not -_LIMIT - 1 <= value <= _LIMIT:
            raise refusal(f"{path}[{at}]", value, "a table's values are whole numbers from -32768 to 32767")
        kept.append(value)
    return tuple(kept)
