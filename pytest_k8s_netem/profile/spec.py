"""What both dialects of a TrafficProfile's ``spec`` share: everything but the impairment itself."""

from __future__ import annotations

import re
from dataclasses import replace

from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.profile.findings import Findings, refusal, under, written
from pytest_k8s_netem.profile.labels import parse_label_selector, render_label_selector
from pytest_k8s_netem.profile.rules import (
    parse_namespaces,
    parse_rules,
    parse_selection,
    render_namespaces,
    render_rules,
    render_selection,
)
from pytest_k8s_netem.profile.trafficprofile import LabelSelector, RefKind, Rule, Selection, TrafficProfile
from pytest_k8s_netem.profile.units import format_duration, format_share, parse_duration, parse_share

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

ENGINES = ("auto", "kernel", "userspace")
VERIFY = ("probe", "read-back", "none")
FOLLOW = ("labels", "start")
EXEMPT = ("node", "apiserver", "dns")
MAX_SEED = 2**64 - 1
"""TCA_NETEM_PRNG_SEED of linux/pkt_sched.h has 64 bits."""
KEYS = (
    "podSelector", "pods", "namespaceSelector", "count", "interfaceFilter", "egress", "ingress",
    "duration", "lease", "engine", "verify", "seed", "follow", "exempt", "order",
)  # fmt: skip
"""Fields of ``spec`` in every dialect."""

_UNREAD: tuple[Rule, ...] = (Rule(),)
"""Stands in for rules that could not be read, so that their impairment isn't called superfluous."""


def one_of(*choices: str) -> Callable[[object, str], str]:
    """A reader of one of these words."""

    def read(value: object, path: str) -> str:
        if not isinstance(value, str) or value not in choices:
            raise refusal(path, value, f"expected one of {', '.join(choices)}")
        return value

    return read


def parse_pattern(value: object, path: str = "") -> str:
    """A regular expression that interfaces' names must match from their start.

    :raises ConfigError: if it is none.
    """
    if not isinstance(value, str):
        raise refusal(path, value, "expected a regular expression", f"write {written(path, 'eth0')}")
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise refusal(path, value, f"not a regular expression: {error}") from None
    return value


def parse_how_many(value: object, path: str = "") -> int | float:
    """``2`` pods, or a share of them: ``"50%"``.

    :raises ConfigError: for anything else, and for none at all.
    """
    if type(value) is int and value >= 1:
        return value
    if isinstance(value, str):
        share = parse_share(value, path)
        if share > 0:
            return share
    raise refusal(path, value, "expected a number of pods, or a share of them", "write 1 or 50%")


def parse_seconds(value: object, path: str = "") -> float:
    """A duration above zero, as seconds.

    :raises ConfigError: for anything else.
    """
    nanoseconds = parse_duration(value, path)
    if not nanoseconds:
        raise refusal(path, value, "must be above zero", "leave it out for one without an end")
    return nanoseconds / 1e9


def parse_seed(value: object, path: str = "") -> int:
    """A whole number 0..2^64-1.

    :raises ConfigError: for anything else.
    """
    if type(value) is not int or not 0 <= value <= MAX_SEED:
        raise refusal(path, value, "a seed is a whole number from 0 to 2^64-1")
    return value


def parse_exempt(value: object, path: str = "") -> tuple[str, ...]:
    """Some of :data:`EXEMPT`; () spares nothing but ARP and neighbour discovery.

    :raises ConfigError: for anything else.
    """
    if isinstance(value, str):
        return (one_of(*EXEMPT)(value, path),)
    if not isinstance(value, list | tuple):
        raise refusal(path, value, f"expected some of {', '.join(EXEMPT)}")
    findings = Findings()
    names = [findings.read(one_of(*EXEMPT), item, f"{path}[{at}]", "") for at, item in enumerate(value)]
    findings.settle()
    return tuple(dict.fromkeys(names))


def parse_order(value: object, path: str = "") -> tuple[int, ...]:
    """A list of whole numbers, compared from the left.

    :raises ConfigError: for anything else.
    """
    if not isinstance(value, list | tuple) or not all(type(item) is int for item in value):
        raise refusal(path, value, "expected a list of whole numbers", f"write {written(path, '[0, 1]')}")
    return tuple(value)


def parse_lease(value: object, path: str = "") -> str:
    """``namespace/name`` of a Lease.

    :raises ConfigError: for anything else.
    """
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9.-]+/[a-z0-9.-]+", value):
        raise refusal(path, value, "not the name of a Lease", f"write {written(path, 'namespace/name')}")
    return value


READERS: dict[str, Callable[[Any, str], object]] = {
    "count": parse_how_many,
    "duration": parse_seconds,
    "lease": parse_lease,
    "engine": one_of(*ENGINES),
    "verify": one_of(*VERIFY),
    "seed": parse_seed,
    "follow": one_of(*FOLLOW),
    "exempt": parse_exempt,
    "order": parse_order,
}
"""Fields that stand for themselves; each is the TrafficProfile's attribute of that name."""


def parse_shared(spec: Mapping[str, object], path: str, findings: Findings) -> TrafficProfile:
    """A profile without name and sides, of what both dialects share; mistakes are noted."""
    values = {
        key: findings.read(reader, spec[key], under(path, key), None) for key, reader in READERS.items() if key in spec
    }
    profile = replace(TrafficProfile(""), **{key: value for key, value in values.items() if value is not None})  # type: ignore[arg-type]
    if "interfaceFilter" in spec:
        pattern = findings.read(parse_pattern, spec["interfaceFilter"], under(path, "interfaceFilter"), "")
        profile = replace(profile, interface=pattern)
    return replace(profile, pods=_pods(spec, path, findings))


def parse_directions(spec: Mapping[str, object], path: str, findings: Findings) -> dict[Direction, tuple[Rule, ...]]:
    """The rules of each direction that has any."""
    found: dict[Direction, tuple[Rule, ...]] = {}
    for direction in Direction:
        where = under(path, direction.value)
        if rules := findings.read(_rules_of(direction), spec.get(direction.value), where, _UNREAD):
            found[direction] = rules
    return found


def render_shared(profile: TrafficProfile) -> dict[str, object]:
    """The fields that :func:`parse_shared` and :func:`parse_directions` read as this profile; defaults are left out."""
    told = _render_pods(profile.pods)
    default = TrafficProfile("")
    if profile.interface:
        told["interfaceFilter"] = profile.interface
    for key in READERS:
        value = getattr(profile, key)
        if value != getattr(default, key):
            told[key] = _render_value(key, value)
    for direction, side in ((Direction.EGRESS, profile.egress), (Direction.INGRESS, profile.ingress)):
        if side is not None:
            told[direction.value] = render_rules(side.rules, direction)
    return told


def _rules_of(direction: Direction) -> Callable[[object, str], tuple[Rule, ...]]:
    return lambda value, where: parse_rules(value, where, direction)


def _render_value(key: str, value: Any) -> object:
    if key == "duration":
        return format_duration(round(value * 1e9))
    if isinstance(value, float):
        return format_share(value)
    return list(value) if isinstance(value, tuple) else value


def _pods(spec: Mapping[str, object], path: str, findings: Findings) -> Selection:
    """``podSelector``, as upstream has it, or ``pods``, a selection; ``namespaceSelector`` stands beside either."""
    names, namespaces = parse_namespaces(spec, path, findings)
    if "pods" in spec:
        return replace(_union(spec, under(path, "pods"), findings), names=names, namespaces=namespaces)
    where = under(path, "podSelector")
    if "podSelector" not in spec:
        findings.missing(where, "missing", "write podSelector: {} for every pod")
        return Selection()
    selector = findings.read(parse_label_selector, spec["podSelector"], where, LabelSelector())
    return Selection((selector,), names=names, namespaces=namespaces)


def _union(spec: Mapping[str, object], path: str, findings: Findings) -> Selection:
    if "podSelector" in spec:
        findings.missing(path, "stands beside podSelector", "keep one of them; pods: {anyOf: [..]} joins several")
    before = len(findings.problems)
    pods = findings.read(parse_selection, spec["pods"], path, Selection())
    if len(findings.problems) > before:
        return pods
    if pods.names or pods.namespaces is not None:
        findings.missing(under(path, "namespaceSelector"), "stands in pods", "write it beside pods")
    if pods.blocks or any(ref.kind in (RefKind.NODE, RefKind.FQDN) for ref in pods.refs):
        findings.missing(path, "ipBlock, node and fqdn name no pod whose interface could be touched")
    elif not pods.selectors and not pods.refs:
        findings.missing(path, "selects nothing", "write podSelector: {} for every pod")
    return pods


def _render_pods(pods: Selection) -> dict[str, object]:
    if len(pods.selectors) == 1 and not (pods.refs or pods.blocks or pods.exceptions):
        return {"podSelector": render_label_selector(pods.selectors[0]), **render_namespaces(pods)}
    return {"pods": render_selection(replace(pods, names=(), namespaces=None)), **render_namespaces(pods)}
