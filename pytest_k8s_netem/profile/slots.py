"""Transmission slots: the forms of ``slot``, and back."""

from __future__ import annotations

from pytest_k8s_netem.model.impairment import Slot
from pytest_k8s_netem.profile.distributions import parse_distribution, render_distribution
from pytest_k8s_netem.profile.findings import Findings, written
from pytest_k8s_netem.profile.units import (
    format_duration,
    format_size,
    parse_count,
    parse_duration,
    parse_size,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

KEYS = ("min", "max", "delay", "jitter", "distribution", "packets", "bytes")


def parse_slot(value: object, path: str = "") -> Slot:
    """``"10ms"``, ``"5ms 10ms"`` (shortest and longest time between slots), or a mapping of :data:`KEYS`.

    Either ``min`` and ``max``, or ``delay``, ``jitter`` and ``distribution``; ``packets`` and ``bytes`` are the most a
    slot carries. A uniform distribution is the same as its bounds, and becomes them.

    :raises ConfigError: with every mistake.
    """
    findings = Findings()
    if isinstance(value, str):
        value = dict(zip(("min", "max"), value.split(maxsplit=1), strict=False))
    told = findings.mapping(value, path, KEYS)
    slot = _build(told, path, findings)
    findings.settle()
    return slot


def render_slot(slot: Slot) -> dict[str, object]:
    """What :func:`parse_slot` reads as this slot."""
    told: dict[str, object] = {"min": format_duration(slot.min_delay), "max": format_duration(slot.max_delay)}
    if slot.table is not None:
        told = {"delay": format_duration(slot.delay), "jitter": format_duration(slot.jitter)}
        told["distribution"] = render_distribution(slot.table)
    if slot.packets:
        told["packets"] = slot.packets
    if slot.bytes:
        told["bytes"] = format_size(slot.bytes)
    return told


def _build(told: Mapping[str, object], path: str, findings: Findings) -> Slot:
    def duration(key: str) -> int:
        return findings.read(parse_duration, told[key], f"{path}.{key}", 0) if key in told else 0

    packets = findings.read(parse_count, told["packets"], f"{path}.packets", 0) if "packets" in told else 0
    size = findings.read(parse_size, told["bytes"], f"{path}.bytes", 0) if "bytes" in told else 0
    if "delay" in told:
        if {"min", "max"} & set(told):
            findings.missing(path, "min and max exclude delay", "give either the bounds or the distribution")
        return _drawn(told, path, findings, (duration("delay"), duration("jitter"), packets, size))
    if "min" not in told:
        findings.missing(path, "a slot needs the time between slots", f"write {written(path, '10ms')}")
    for key in {"jitter", "distribution"} & set(told):
        findings.missing(f"{path}.{key}", "needs the slot's delay", "write slot={delay: 10ms, jitter: 2ms}")
    shortest = duration("min")
    longest = duration("max") if "max" in told else shortest
    if longest < shortest:
        findings.add(f"{path}.max", told["max"], "is shorter than min")
    return Slot(min_delay=shortest, max_delay=longest, packets=packets, bytes=size)


def _drawn(told: Mapping[str, object], path: str, findings: Findings, parts: tuple[int, int, int, int]) -> Slot:
    delay, jitter, packets, size = parts
    table = None
    if "distribution" in told:
        table = findings.read(parse_distribution, told["distribution"], f"{path}.distribution", None)
    if table is None:
        return Slot(min_delay=max(0, delay - jitter), max_delay=delay + jitter, packets=packets, bytes=size)
    return Slot(packets=packets, bytes=size, delay=delay, jitter=jitter, table=table)
