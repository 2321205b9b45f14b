"""What ``netem explain`` prints: what a profile means, told from what the controller would make of it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

from pytest_k8s_netem.controller.leases import LEASE
from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.profile.describe import describe, whom
from pytest_k8s_netem.profile.presets import PRESETS
from pytest_k8s_netem.profile.selectors import format_selection
from pytest_k8s_netem.profile.trafficprofile import RefKind, Selection
from pytest_k8s_netem.profile.units import format_duration, format_share
from pytest_k8s_netem.report.grounds import engines, proof
from pytest_k8s_netem.report.plain import timeline_lines, trip_line
from pytest_k8s_netem.resolve.rules import impairments, peers_of, side_of
from pytest_k8s_netem.resolve.sample import sample
from pytest_k8s_netem.resolve.samplepods import HOME
from pytest_k8s_netem.resolve.trips import trips

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from pytest_k8s_netem.profile.trafficprofile import TrafficProfile
    from pytest_k8s_netem.resolve.sample import Sample

WIDTH = 100
"""Columns of the longest line."""
SPARED = {
    "node": "each pod's own node (health checks come from there)",
    "apiserver": "the API server",
}
STRICT = {
    "inert": "if the test's packets never meet it",
    "unexercised": "if they meet it but none is lost, delayed or changed",
}


@dataclass(frozen=True, slots=True)
class Explained:
    """What was said.

    :ivar profile: what it means, in :data:`HOME` where it means the test's namespace.
    :ivar presets: names of the presets in it. :ivar face: when and how strictly. :ivar whole: it is an object's file.
    """

    profile: TrafficProfile
    presets: Sequence[str] = ()
    face: Mapping[str, str] = field(default_factory=dict)
    whole: bool = False


def explain(said: Explained) -> list[str]:
    """For people: a paragraph and a table, no line longer than :data:`WIDTH`."""
    phrase = describe(said.profile)
    lines = [phrase, ""] if len(phrase) <= WIDTH else []
    told = sections(said)
    margin = max(map(len, told)) + 2
    for heading, texts in told.items():
        for at, text in enumerate(texts):
            first = f"{'' if at else heading:<{margin}}"
            lines += textwrap.wrap(
                text, WIDTH, initial_indent=first, subsequent_indent=" " * (margin + 2), break_on_hyphens=False
            )
    return lines


def simple(said: Explained) -> dict[str, Any]:
    """For programs; JSON-simple."""
    told, _ = trips(sample(said.profile)) if said.profile.script is None else ([], False)
    return {
        "impairment": describe(said.profile),
        "told": sections(said),
        "round_trips": [
            {
                "between": [party.label for party in trip.ones],
                "and": [party.label for party in trip.others],
                "packets": [label or "other" for label in trip.packets],
                "rtt_ns": dict(zip(("low", "mean", "high"), trip.seen.rtt, strict=True)),
                "loss": trip.seen.loss,
                "there": {"delay_ns": trip.seen.there.mean, "loss": trip.seen.there.loss},
                "back": {"delay_ns": trip.seen.back.mean, "loss": trip.seen.back.loss},
            }
            for trip in told
        ],
    }


def sections(said: Explained) -> dict[str, list[str]]:
    """What is told under each heading."""
    profile, found = said.profile, sample(said.profile)
    told = {
        "whose packets": list(_whose(said)),
        "what happens": [*_what(profile), *(f"preset {name}: {PRESETS[name].source}" for name in said.presets)],
        "round trip": list(_trips(profile, found)),
        "left alone": list(_spared(profile)),
        "how long": list(_how_long(said)),
        "engine": list(engines(profile, found)),
        "proof": list(proof(profile, found)),
        "strictness": [f"{STRICT[key]}: {said.face[key]}" for key in STRICT if key in said.face],
    }
    return {heading: lines for heading, lines in told.items() if lines}


def _whose(said: Explained) -> Iterator[str]:
    profile = said.profile
    if profile.egress is None and profile.ingress is None:
        yield "nobody's: neither egress nor ingress has a rule"
        return
    pods = format_selection(profile.pods) + (f" ({_where(profile.pods)})" if _of_pods(profile.pods) else "")
    if profile.count is not None:
        number = format_share(profile.count) if isinstance(profile.count, float) else str(profile.count)
        pods = f"{number}, drawn by the seed, of {pods}"
    for side, verb, preposition in ((profile.egress, "sent by", "to"), (profile.ingress, "received by", "from")):
        if side is not None:
            yield f"{verb} {pods}{whom(side, preposition)}"
    yield from _elsewhere(profile)
    if profile.egress is not None and profile.ingress is not None:
        yield "a packet between two of them meets it once, at its sender"
    if profile.interface:
        yield f"on the first interface whose name matches {profile.interface!r} from its start"
    if said.whole and HOME in profile.pods.names:
        yield "(by profile= in a marker; applied as an object, it means pods of every namespace)"


def _elsewhere(profile: TrafficProfile) -> Iterator[str]:
    """Peers that are looked for elsewhere than where the pods are said to be."""
    here = (profile.pods.names, profile.pods.namespaces) if _of_pods(profile.pods) else None
    for peer in dict.fromkeys(peer for way in Direction for peer in peers_of(profile, way)):
        if _of_pods(peer) and (peer.names, peer.namespaces) != here:
            yield f"{format_selection(peer)} is looked for {_where(peer)}"


def _of_pods(selection: Selection) -> bool:
    """Whether namespaces make a difference to it."""
    named = (RefKind.POD, RefKind.SERVICE, RefKind.DEPLOYMENT)
    return bool(selection.selectors) or any(ref.kind in named for ref in selection.refs)


def _where(selection: Selection) -> str:
    if selection.names == (HOME,) and selection.namespaces is None:
        return "in the test's namespace"
    parts = [" or ".join(selection.names)] if selection.names else []
    if selection.namespaces is not None and selection.namespaces.requirements:
        parts.append(f"with {format_selection(Selection((selection.namespaces,)))}")
    return f"in namespace {' '.join(parts)}" if parts else "in every namespace"


def _what(profile: TrafficProfile) -> Iterator[str]:
    sides = {way: side for way in Direction if (side := side_of(profile, way)) is not None}
    if profile.script is not None:
        yield "what an executable of yours makes of it: type Script, which gets spec.parameters as they are"
        yield "(local provider only, with --netem-allow-script)"
        return
    alike = len({side.timeline for side in sides.values()}) == 1
    for way, side in list(sides.items())[: 1 if alike else None]:
        if not alike:
            yield "what they send:" if way is Direction.EGRESS else "what they receive:"
        yield from (line if alike else f"  {line}" for line in timeline_lines(side.timeline))


def _trips(profile: TrafficProfile, found: Sample) -> Iterator[str]:
    if profile.script is not None:
        yield "as the executable has it"
        return
    if not any(party.selected for party in found.parties):
        yield "none was found: can a pod have all these labels?"
        return
    told, clear = trips(found)
    yield from map(trip_line, told)
    if clear or not told:
        yield f"{'any other' if told else 'any'}: as without it"
    if any(impairment.rate for impairment in impairments(profile)):
        yield "(small packets, idle link; larger ones and queues take longer, as the rate has it)"


def _spared(profile: TrafficProfile) -> Iterator[str]:
    names = ("node", "apiserver") if _of_pods(profile.pods) else ("apiserver",)  # no kubelet looks after a container
    spared = ["ARP", "neighbour discovery", *(SPARED[name] for name in names if name in profile.exempt)]
    yield f"{', '.join(spared)}: unless a rule names them"
    if "dns" in profile.exempt:
        yield "DNS (port 53)"
    yield "the pytest process, forward, and how exec starts a command (not what that sends)"


def _how_long(said: Explained) -> Iterator[str]:
    profile = said.profile
    own = f"{format_duration(round(profile.duration * 1e9))}, or " if profile.duration else ""
    yield f"{own}until the test ends; on a cluster {LEASE + 5:g}s longer at most if its run is killed"
    if said.face.get("when") == "first":
        yield "set up before the test's other fixtures, healed after them"
    if profile.follow == "start":
        yield "for the pods that are there at the start, and whoever replaces them"
    else:
        yield "pods that come later are met too"
