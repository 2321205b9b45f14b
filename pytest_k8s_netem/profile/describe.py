"""A profile in one phrase: what happens, which way, to whose packets."""

from __future__ import annotations

from pytest_k8s_netem.model.impairment import EveryNth
from pytest_k8s_netem.profile.ports import format_port
from pytest_k8s_netem.profile.protocols import protocol_name, render_ether_types
from pytest_k8s_netem.profile.selectors import format_selection
from pytest_k8s_netem.profile.units import format_duration
from pytest_k8s_netem.profile.vocabulary import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.model.impairment import Impairment
    from pytest_k8s_netem.model.timeline import Timeline
    from pytest_k8s_netem.profile.trafficprofile import Port, Rule, Side, TrafficProfile

_ENDS = {"either": "", "remote": " (theirs)", "local": " (own)"}


def describe(profile: TrafficProfile) -> str:
    """``delay 100ms ±10ms, loss 1%, egress of app=web to app=db tcp/5432``."""
    pods = format_selection(profile.pods)
    ways = {"egress": profile.egress, "ingress": profile.ingress}
    sides = {way: side for way, side in ways.items() if side is not None}
    if not sides:
        return f"nothing, for {pods}"
    if len(sides) == 2 and len(set(sides.values())) == 1:
        (side,) = set(sides.values())
        return f"{_what(profile, side)}, both directions of {pods}{whom(side, 'with')}"
    preposition = {"egress": "to", "ingress": "from"}
    phrases = [f"{_what(profile, side)}, {way} of {pods}{whom(side, preposition[way])}" for way, side in sides.items()]
    return "; ".join(phrases)


def describe_impairment(impairment: Impairment) -> str:
    """``delay 100ms ±10ms, loss 1%``; the words of the vocabulary otherwise."""
    words = render(impairment)
    parts = [_delay(words, impairment)] if "delay" in words else []
    if "loss_model" in words:
        parts.append(_loss_model(impairment))
    correlated = {word.removesuffix("_correlation") for word in words if word.endswith("_correlation")}
    for word, value in words.items():
        if word in ("loss", "duplicate", "corrupt", "reorder"):
            parts.append(f"{word} {value}" + (" (correlated)" if word in correlated else ""))
        elif word in ("gap", "rate", "limit"):
            parts.append(f"{word} {value}")
        elif word in ("slot", "ecn", "ordered"):
            parts.append(word)
    return ", ".join(parts) or "nothing"


def describe_timeline(timeline: Timeline) -> str:
    """Its impairments in a row, each with its time."""
    if timeline.only is not None:
        return describe_impairment(timeline.only)
    parts = [
        describe_impairment(segment.impairment)
        + ("" if segment.duration is None else f" for {format_duration(segment.duration)}")
        for segment in timeline.segments
    ]
    return ", then ".join(parts) + (", over and over" if timeline.repeat else "")


def _what(profile: TrafficProfile, side: Side) -> str:
    return "a script" if profile.script is not None else describe_timeline(side.timeline)


def _delay(words: dict[str, object], impairment: Impairment) -> str:
    text = f"delay {words['delay']}"
    if "jitter" in words:
        text += f" ±{words['jitter']}"
    return text if impairment.table is None else f"{text} ({impairment.table.name})"


def _loss_model(impairment: Impairment) -> str:
    if isinstance(impairment.loss, EveryNth):
        return f"loss of one packet in {impairment.loss.n}"
    return f"loss {impairment.loss.mean * 100:.3g}% in bursts"


def whom(side: Side, preposition: str) -> str:
    """`` to app=db tcp/5432``; rules are joined by "or"; nothing where every IP packet is meant."""
    texts = [_rule(rule, preposition) for rule in side.rules]
    return "" if "" in texts else f" {' or '.join(texts)}"


def _rule(rule: Rule, preposition: str) -> str:
    parts = []
    if rule.peers is not None:
        parts.append(f"{preposition} {' or '.join(map(format_selection, rule.peers)) or 'nobody'}")
    if rule.ports is not None:
        parts.append(", ".join(_port(port) for port in rule.ports))
    if rule.protocols is not None:
        parts.append(", ".join(protocol_name(n) for first, last in rule.protocols for n in range(first, last + 1)))
    if rule.ether_types is not None:
        parts.append(", ".join(map(str, render_ether_types(rule.ether_types))))
    return " ".join(parts)


def _port(port: Port) -> str:
    return format_port(port) + _ENDS[port.side]
