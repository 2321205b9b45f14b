"""The keyword arguments of the ``netem`` marker and of ``netem.impair`` as a TrafficProfile."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from pytest_k8s_netem.model.impairment import NONE
from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.model.timeline import Timeline
from pytest_k8s_netem.profile.findings import Findings, refusal, shown
from pytest_k8s_netem.profile.native import render_profile
from pytest_k8s_netem.profile.ports import parse_ports
from pytest_k8s_netem.profile.selectors import EVERYWHERE, in_namespaces, parse_peers, parse_pods
from pytest_k8s_netem.profile.sides import WORDS, both_ways
from pytest_k8s_netem.profile.spec import READERS, one_of, parse_pattern
from pytest_k8s_netem.profile.trafficprofile import LabelSelector, Rule, Selection, Side, TrafficProfile
from pytest_k8s_netem.profile.vocabulary import FIELDS, build

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pytest_k8s_netem.profile.trafficprofile import Port

FACE = ("when", "name", "profile", "inert", "unexercised")
"""Arguments that are not about packets: the fixtures consume them."""
WHAT = (*WORDS, *FIELDS)
"""Arguments that say what happens to a packet."""
WHO = ("pods", "to", "from_", "except_", "ports", "src_ports", "dst_ports", "direction", "namespaces", "interface")
HOW = ("count", "follow", "exempt", "engine", "verify", "duration", "seed")
KNOWN = (*FACE, *WHAT, *WHO, *HOW)
"""Every argument."""
OF_OBJECTS = ("timeline", "egress", "ingress", "podSelector", "namespaceSelector", "impairment", "parameters", "type")
"""Fields of TrafficProfile objects that somebody may look for among the arguments."""
POSITIONAL = "*"
"""Key under which a marker's positional arguments come here, to be refused."""
DIRECTIONS = ("egress", "ingress", "both")
_EVERY_POD = Selection((LabelSelector(),))
_CLASHES = {
    "rtt": ("delay", "direction"),
    "delay": ("rtt",),
    "direction": ("rtt", "preset"),
    "preset": ("direction",),
    "loss": ("loss_model",),
    "loss_model": ("loss", "loss_correlation"),
    "ports": ("src_ports", "dst_ports"),
    "src_ports": ("ports", "dst_ports"),
    "dst_ports": ("ports", "src_ports"),
}
"""Arguments that a later one pushes out, since they exclude each other."""


def from_arguments(arguments: Mapping[str, Any], *, name: str, namespace: str) -> dict[str, object]:
    """The TrafficProfile object, in our dialect, that these arguments ask for.

    :param namespace: where ``pods``, ``to`` and ``from_`` look unless ``namespaces`` says otherwise.
    :raises ConfigError: with every mistake.
    """
    return render_profile(profile_of(arguments, name=name, namespace=namespace))


def profile_of(arguments: Mapping[str, Any], *, name: str, namespace: str) -> TrafficProfile:
    """As :func:`from_arguments`, typed."""
    findings = Findings()
    told = {key: value for key, value in arguments.items() if value is not None}
    nameless = told.pop(POSITIONAL, ())
    for value in nameless if isinstance(nameless, list | tuple) else [nameless]:
        findings.missing("", f"{shown(value)}: a value without a name", 'write it as keyword: delay="100ms"')
    for key in [key for key in OF_OBJECTS if key in told]:
        del told[key]
        fix = 'write the object in a file and give profile="wan.yaml"'
        findings.missing(key, "a field of TrafficProfile objects, no argument", fix)
    told = dict(findings.mapping(told, "", KNOWN))
    own: tuple[str, ...] = (namespace,)
    names = findings.read(parse_namespaces, told.get("namespaces", namespace), "namespaces", own)
    pods = findings.read(parse_pods, told["pods"], "pods", _EVERY_POD) if "pods" in told else _EVERY_POD
    values = {key: findings.read(READERS[key], told[key], key, None) for key in HOW if key in told}
    profile = replace(TrafficProfile(name), **values)  # type: ignore[arg-type]
    if "interface" in told:
        profile = replace(profile, interface=findings.read(parse_pattern, told["interface"], "interface", ""))
    asked = set(told) & set(WHAT) or set(arguments) - set(KNOWN)  # a word that was not understood may have been meant
    if not asked:
        example = 'give delay="100ms", loss="1%", rtt=, rate=, preset= ...'
        findings.missing("", "nothing is asked to happen to packets", example)
    sides = _sides(told, names, findings)
    findings.settle()
    egress, ingress = sides.get(Direction.EGRESS), sides.get(Direction.INGRESS)
    return replace(profile, pods=in_namespaces(pods, names), egress=egress, ingress=ingress)


def parse_namespaces(value: object, path: str = "namespaces") -> tuple[str, ...]:
    """The names of namespaces; () = all.

    :raises ConfigError: for anything but a name, a list of them, or ``"*"``.
    """
    if value == "*":
        return ()
    names = [value] if isinstance(value, str) else value
    if isinstance(names, list | tuple) and names and all(isinstance(name, str) and name for name in names):
        return tuple(dict.fromkeys(names))
    raise refusal(path, value, "expected namespaces", f'write {path}="shop", a list, or "*" for all')


def merge(arguments: Mapping[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments after an update: what it gives replaces, what excludes it goes, None takes away."""
    given = {key for key, value in update.items() if value is not None}
    pushed = {clash for key in given for clash in _CLASHES.get(key, ())} - given
    merged = {key: value for key, value in arguments.items() if key not in pushed} | dict(update)
    return {key: value for key, value in merged.items() if value is not None}


def blackhole(pods: object = None, **arguments: Any) -> dict[str, Any]:
    """Arguments under which packets vanish, in both directions unless ``direction`` says otherwise.

    :raises ConfigError: if they also say what else happens to packets.
    """
    _refuse_any(WHAT, arguments, "a blackhole loses every packet")
    return {"direction": "both", **({} if pods is None else {"pods": pods}), **arguments, "loss": "100%"}


def partition(a: object, b: object, **arguments: Any) -> dict[str, Any]:
    """Arguments under which nothing passes between ``a`` and ``b``; one of them must be pods.

    The pods are those of the start, and whoever replaces them.

    :raises ConfigError: if an argument contradicts that.
    """
    _refuse_any((*WHAT, "pods", "to", "from_", "direction"), arguments, "partition(a, b) says it already")
    if not _can_be_pods(a) and _can_be_pods(b):
        a, b = b, a
    return {"pods": a, "to": b, "direction": "both", "loss": "100%", "follow": "start", **arguments}


def _refuse_any(names: tuple[str, ...], arguments: Mapping[str, Any], why: str) -> None:
    for key in names:
        if arguments.get(key) is not None:
            raise refusal(key, arguments[key], why, f"leave out {key}")


def _can_be_pods(value: object) -> bool:
    findings = Findings()
    findings.read(parse_pods, value, "pods", _EVERY_POD)
    return not findings.problems


def _sides(told: Mapping[str, object], names: tuple[str, ...], findings: Findings) -> dict[Direction, Side]:
    words = {key: value for key, value in told.items() if key in WHAT}
    fields = dict(zip(Direction, both_ways(words, "", findings), strict=True))
    sides = {}
    for way, peers in _peers(told, names, findings).items():
        rule = Rule(peers=None if peers is None else (peers,), ports=_ports(told, way, findings))
        impairment = findings.read(build, fields[way], "", NONE)
        sides[way] = Side((rule,), Timeline.constant(impairment))
    return sides


def _peers(told: Mapping[str, object], names: tuple[str, ...], findings: Findings) -> dict[Direction, Selection | None]:
    """The directions asked for, each with its remotes; None = all."""
    given = {
        key: in_namespaces(findings.read(parse_peers, told[key], key, Selection()), names)
        for key in ("to", "from_", "except_")
        if key in told
    }
    spared = given.pop("except_", None)
    chosen = _directions(told, given, findings)
    return {way: _without(peers, spared) for way, peers in chosen.items()}


def _without(peers: Selection | None, spared: Selection | None) -> Selection | None:
    if spared is None:
        return peers
    return replace(peers or Selection(blocks=EVERYWHERE), exceptions=(spared,))


def _directions(
    told: Mapping[str, object], given: Mapping[str, Selection], findings: Findings
) -> dict[Direction, Selection | None]:
    """``to`` is egress, ``from_`` ingress; rtt and presets are both, with whom either names."""
    to, from_ = given.get("to"), given.get("from_")
    for word in WORDS:
        if word in told:
            if "direction" in told:
                why = f"contradicts {word}, which is both directions"
                findings.add("direction", told["direction"], why, "leave direction out")
            both = _union(to, from_)
            return {Direction.EGRESS: both, Direction.INGRESS: both}
    direction = (
        findings.read(one_of(*DIRECTIONS), told["direction"], "direction", "both") if "direction" in told else ""
    )
    if direction == "both":
        return {Direction.EGRESS: to or from_, Direction.INGRESS: from_ or to}
    for key, way in (("to", "egress"), ("from_", "ingress")):
        if direction and key in given and direction != way:
            why = f"contradicts {key}=, which means {way}"
            findings.add("direction", direction, why, f'leave direction out, or write direction="{way}" or "both"')
    if direction:
        return {Direction(direction): to if direction == "egress" else from_}
    found: dict[Direction, Selection | None] = {}
    if to is not None or from_ is None:
        found[Direction.EGRESS] = to
    if from_ is not None:
        found[Direction.INGRESS] = from_
    return found


def _union(a: Selection | None, b: Selection | None) -> Selection | None:
    if a is None or b is None:
        return a or b
    return Selection(
        tuple(dict.fromkeys(a.selectors + b.selectors)),
        tuple(dict.fromkeys(a.refs + b.refs)),
        tuple(dict.fromkeys(a.blocks + b.blocks)),
        a.names or b.names,
    )


def _ports(told: Mapping[str, object], way: Direction, findings: Findings) -> tuple[Port, ...] | None:
    """``ports`` are either end's; ``src_ports`` are the sender's, who is local on egress and remote on ingress."""
    sender, receiver = ("local", "remote") if way is Direction.EGRESS else ("remote", "local")
    ends = {"ports": "either", "src_ports": sender, "dst_ports": receiver}
    asked = [key for key in ends if key in told]
    if len(asked) > 1:
        findings.add(asked[1], told[asked[1]], f"stands beside {asked[0]}", f"one profile has one of {', '.join(ends)}")
    unread: tuple[Port, ...] = ()
    found = [findings.read(partial(parse_ports, side=ends[key]), told[key], key, unread) for key in asked]
    return found[0] if found else None
