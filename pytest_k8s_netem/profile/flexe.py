"""k8s-netem's type Flexe: time segments whose values are carried over, in ms, kbit/s and percent."""

from __future__ import annotations

from pytest_k8s_netem.model.impairment import Bernoulli, Impairment, Rate
from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.model.timeline import Segment, Timeline
from pytest_k8s_netem.profile.builtin import distribution, number, read_all
from pytest_k8s_netem.profile.distributions import table_of
from pytest_k8s_netem.profile.findings import Findings, under
from pytest_k8s_netem.profile.units import MAX_DURATION, MAX_RATE
from pytest_k8s_netem.profile.vocabulary import parse_flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def _seconds(value: object, path: str) -> int:
    return round(number(value, path, 0, MAX_DURATION / 1e9) * 10**9)


def _milliseconds(value: object, path: str) -> int:
    return round(number(value, path, 0, MAX_DURATION / 1e6) * 10**6)


def _percent(value: object, path: str) -> float:
    return float(number(value, path, 0, 100).scaleb(-2))


def _kilobits(value: object, path: str) -> int:
    """Rounded to the whole bytes a second in which netem counts; what is above nothing stays above nothing."""
    told = number(value, path, 0, MAX_RATE / 1000)
    return max(round(told * 125), 1) * 8 if told else 0


def _shape(value: object, path: str) -> str:
    return distribution("uniform" if value == "" else value, path)


READERS: dict[str, Callable[[object, str], int | float | str]] = {
    "runTime": _seconds,
    "bandwidthUp": _kilobits,
    "bandwidthDown": _kilobits,
    "delay": _milliseconds,
    "delayVariation": _milliseconds,
    "delayCorrelation": _percent,
    "delayDistribution": _shape,
    "loss": _percent,
    "lossCorrelation": _percent,
    "duplication": _percent,
    "corruption": _percent,
    "reorder": _percent,
    "reorderCorrelation": _percent,
}
"""Every key of a segment's ``parameters``."""
_SEGMENT_KEYS = ("repeat", "profile", "start", "end")
"""``profile``, ``start`` and ``end`` are of an older form, which k8s-netem reads and does not use."""

_Values = dict[str, "int | float | str"]


def parse_flexe(parameters: Mapping[str, object], path: str, findings: Findings) -> dict[Direction, Timeline]:
    """The timeline of each direction: ``bandwidthUp`` is what the pod sends, ``bandwidthDown`` what it receives.

    Entries of ``profiles`` run in their order, each for ``runTime`` seconds; a key missing in one keeps the value of
    the one before. Without a running time an entry only sets values, except the last, which then never ends.
    """
    told = findings.mapping(dict(parameters), path, ("segments", "profiles"))
    repeat = _repeat(told.get("segments"), under(path, "segments"), findings)
    entries = _entries(told.get("profiles"), under(path, "profiles"), findings)
    return {direction: _timeline(entries, repeat, direction) for direction in Direction}


def _repeat(value: object, path: str, findings: Findings) -> bool:
    """Of the last entry that says so."""
    repeat = False
    for where, item in findings.items(value, path):
        told = findings.mapping(item, where, _SEGMENT_KEYS)
        repeat = findings.read(parse_flag, told.get("repeat", repeat), under(where, "repeat"), False)
    return repeat


def _entries(value: object, path: str, findings: Findings) -> list[_Values]:
    """The values that each segment sets; a name that comes again replaces the first one's values in its place."""
    entries: dict[str, _Values] = {}
    items = findings.items(value, path)
    if not items:
        findings.missing(path, "a profile of type Flexe needs at least one entry")
    for where, item in items:
        told = findings.mapping(item, where, ("name", "parameters"))
        name = told.get("name")
        if not isinstance(name, str):
            findings.add(under(where, "name"), name, "expected a name")
        values = told.get("parameters")
        entries[str(name)] = _values({} if values is None else values, under(where, "parameters"), findings)
    return list(entries.values())


def _values(value: object, path: str, findings: Findings) -> _Values:
    told = findings.mapping(value, path, READERS)
    values = read_all(READERS, told, path, findings)
    if values.get("reorder") and values.get("delay") == 0:
        findings.add(under(path, "reorder"), told["reorder"], "has no effect without delay", "set a delay")
    return values


def _timeline(entries: list[_Values], repeat: bool, direction: Direction) -> Timeline:
    held: dict[str, Any] = dict.fromkeys(READERS, 0) | {"delayDistribution": "uniform"}
    segments = []
    for at, values in enumerate(entries):
        held = held | values
        if held["runTime"] or at == len(entries) - 1:
            segments.append(Segment(held["runTime"] or None, _impairment(held, direction)))
    endless = bool(segments) and segments[-1].duration is None
    return Timeline(tuple(segments), repeat and not endless)


def _impairment(held: Mapping[str, Any], direction: Direction) -> Impairment:
    bits = held["bandwidthUp" if direction is Direction.EGRESS else "bandwidthDown"]
    varies = bool(held["delayVariation"])
    return Impairment(
        delay=held["delay"],
        jitter=held["delayVariation"],
        delay_corr=float(held["delayCorrelation"]) if varies else 0.0,
        table=table_of(held["delayDistribution"] or "uniform") if varies else None,
        loss=Bernoulli(float(held["loss"]), float(held["lossCorrelation"])),
        duplicate=Bernoulli(float(held["duplication"])),
        corrupt=Bernoulli(float(held["corruption"])),
        reorder=Bernoulli(float(held["reorder"]), float(held["reorderCorrelation"])) if held["delay"] else Bernoulli(),
        rate=Rate(bits),
    )
