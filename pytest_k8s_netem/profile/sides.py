"""What speaks of both directions at once, ``preset`` and ``rtt``, as the words of each direction."""

from __future__ import annotations

from pytest_k8s_netem.profile.findings import Findings, nearest, under, written
from pytest_k8s_netem.profile.presets import PRESETS
from pytest_k8s_netem.profile.units import format_duration, parse_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

WORDS = ("preset", "rtt")
_REPLACES = {
    "loss": ("loss_model",),
    "loss_model": ("loss", "loss_correlation"),
    "rtt": ("delay",),
}
"""What a word given beside a preset takes out of it, apart from the word itself."""


def both_ways(told: Mapping[str, object], path: str, findings: Findings) -> tuple[dict[str, object], ...]:
    """(egress words, ingress words): the preset's, overridden by those given beside it, and half of ``rtt`` each."""
    given = {word: value for word, value in told.items() if word not in WORDS}
    taken = {word for key in told for word in (key, *_REPLACES.get(key, ()))}
    up, down = ({w: v for w, v in side.items() if w not in taken} | given for side in _preset(told, path, findings))
    if "rtt" in told:
        _add_rtt(told, path, findings, (up, down))
    return up, down


def _preset(told: Mapping[str, object], path: str, findings: Findings) -> tuple[Mapping[str, str], Mapping[str, str]]:
    if "preset" not in told:
        return {}, {}
    name = told["preset"]
    if not isinstance(name, str) or name not in PRESETS:
        findings.add(under(path, "preset"), name, "unknown preset", nearest(name, PRESETS))
        return {}, {}
    return PRESETS[name].up, PRESETS[name].down


def _add_rtt(told: Mapping[str, object], path: str, findings: Findings, sides: tuple[dict[str, object], ...]) -> None:
    where = under(path, "rtt")
    if "delay" in told:
        delay = written(under(path, "delay"), "50ms")
        why = "rtt and delay exclude each other: rtt is half each way, delay is one way"
        findings.add(where, told["rtt"], why, f"keep rtt, or write {delay}")
    whole = findings.read(parse_duration, told["rtt"], where, 0)
    for side, part in zip(sides, (whole // 2, whole - whole // 2), strict=True):
        side["delay"] = format_duration(part)
