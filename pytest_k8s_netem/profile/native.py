"""Our dialect: ``spec.impairment`` in the vocabulary's words, with units; and every profile rendered in it."""

from __future__ import annotations

from pytest_k8s_netem.model.impairment import NONE
from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.model.timeline import Segment, Timeline
from pytest_k8s_netem.profile.findings import Findings, refusal, under
from pytest_k8s_netem.profile.sides import both_ways
from pytest_k8s_netem.profile.spec import render_shared
from pytest_k8s_netem.profile.units import format_duration, parse_duration
from pytest_k8s_netem.profile.vocabulary import build, parse_flag, render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pytest_k8s_netem.model.impairment import Impairment
    from pytest_k8s_netem.profile.trafficprofile import TrafficProfile

API_VERSION = "k8s-netem.riasc.eu/v1"
KIND = "TrafficProfile"
_HEALTHY = Timeline.constant(NONE)
_WAYS = tuple(Direction)


def parse_impairment(
    value: object, path: str, sides: Collection[Direction], findings: Findings
) -> dict[Direction, Timeline]:
    """The timeline of each direction: one mapping for both, or ``egress`` and ``ingress`` apart.

    :param sides: the directions that have rules. Mistakes are noted.
    """
    if not sides:
        findings.missing(path, "neither egress nor ingress has a rule", "write egress: [{}] for all that the pods send")
    told = findings.mapping(value, path)
    if not {way.value for way in _WAYS} & set(told):
        _check_rtt(told, path, sides, findings)
        return dict(zip(_WAYS, _timelines(told, path, findings), strict=True))
    told = findings.mapping(dict(told), path, [way.value for way in _WAYS])
    found = {}
    for at, way in enumerate(_WAYS):
        where = under(path, way.value)
        if way.value in told:
            part = findings.mapping(told[way.value], where)
            _check_rtt(part, where, (), findings)
            found[way] = _timelines(part, where, findings)[at]
        if (way in found) != (way in sides):
            lacking = where if way in sides else under(path.rpartition(".")[0], way.value)
            findings.missing(lacking, f"missing: {way.value} has {'rules' if way in sides else 'an impairment'} only")
    return found


def render_profile(profile: TrafficProfile) -> dict[str, object]:
    """The object, as a client would send it; :func:`parse.parse` reads it as this very profile."""
    metadata: dict[str, object] = {"name": profile.name}
    metadata |= {"uid": profile.uid} if profile.uid else {}
    metadata |= {"generation": profile.generation} if profile.generation else {}
    spec = render_shared(profile)
    if profile.script is not None:
        spec |= {"type": "Script", "parameters": dict(profile.script.parameters)}
    elif profile.egress is None and profile.ingress is None:
        spec |= {"type": "Builtin", "parameters": {"netem": {}}}  # k8s-netem takes one without a rule; ours refuses it
    else:
        spec["impairment"] = render_impairment(profile)
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}


def render_impairment(profile: TrafficProfile) -> dict[str, object]:
    """``spec.impairment``: one mapping where both directions have the same timeline."""
    sides = {"egress": profile.egress, "ingress": profile.ingress}
    timelines = {name: side.timeline for name, side in sides.items() if side is not None}
    if len(set(timelines.values())) <= 1:
        return _render_timeline(next(iter(timelines.values()), _HEALTHY))
    return {name: _render_timeline(timeline) for name, timeline in timelines.items()}


def _timelines(told: Mapping[str, object], path: str, findings: Findings) -> tuple[Timeline, Timeline]:
    if "timeline" not in told:
        egress, ingress = _impairments(told, path, findings)
        return Timeline.constant(egress), Timeline.constant(ingress)
    for word in set(told) - {"timeline", "repeat"}:
        findings.missing(under(path, word), "stands beside a timeline", "write it in the timeline's segments")
    repeat = findings.read(parse_flag, told.get("repeat", False), under(path, "repeat"), False)
    items = findings.items(told["timeline"], under(path, "timeline"))
    if not items:
        findings.add(under(path, "timeline"), told["timeline"], "a timeline needs segments", "write - {for: 10s}")
    segments = [_segment(item, where, findings) for where, item in items]
    _check_ends([pair[0].duration for pair in segments], repeat, under(path, "timeline"), findings)
    return Timeline(tuple(pair[0] for pair in segments), repeat), Timeline(tuple(p[1] for p in segments), repeat)


def _segment(item: object, path: str, findings: Findings) -> tuple[Segment, Segment]:
    told = findings.mapping(item, path)
    duration = findings.read(_lasting, told["for"], under(path, "for"), 1) if "for" in told else None
    words = {word: value for word, value in told.items() if word != "for"}
    egress, ingress = _impairments(words, path, findings)
    return Segment(duration, egress), Segment(duration, ingress)


def _impairments(told: Mapping[str, object], path: str, findings: Findings) -> tuple[Impairment, Impairment]:
    egress, ingress = both_ways(told, path, findings)
    return findings.read(build, egress, path, NONE), findings.read(build, ingress, path, NONE)


def _lasting(value: object, path: str) -> int:
    duration = parse_duration(value, path)
    if not duration:
        raise refusal(path, value, "a segment lasts longer than nothing", "leave it out for ever")
    return duration


def _check_ends(durations: list[int | None], repeat: bool, path: str, findings: Findings) -> None:
    for at, duration in enumerate(durations[:-1]):
        if duration is None:
            findings.missing(f"{path}[{at}].for", "only the last segment may go on for ever", "write for: 10s")
    if repeat and durations and durations[-1] is None:
        where = f"{path}[{len(durations) - 1}].for"
        findings.missing(where, "the last segment never ends, so nothing repeats", "write for: 10s")


def _check_rtt(told: Mapping[str, object], path: str, sides: Collection[Direction], findings: Findings) -> None:
    """Half of rtt each way needs both ways."""
    segments = told.get("timeline")
    items = [told, *(segments if isinstance(segments, list | tuple) else ())]
    if any(isinstance(item, dict) and "rtt" in item for item in items) and len(sides) < 2:
        why = "rtt speaks of both directions"
        findings.missing(under(path, "rtt"), why, "give egress and ingress rules and one impairment, or write delay")


def _render_timeline(timeline: Timeline) -> dict[str, object]:
    if timeline.only is not None:
        return render(timeline.only)
    segments = [_render_segment(segment) for segment in timeline.segments]
    return {"timeline": segments} | ({"repeat": True} if timeline.repeat else {})


def _render_segment(segment: Segment) -> dict[str, object]:
    told: dict[str, object] = {} if segment.duration is None else {"for": format_duration(segment.duration)}
    return told | render(segment.impairment)
