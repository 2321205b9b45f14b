"""A TrafficProfile object, of either dialect, as the typed profile: total over any JSON value."""

from __future__ import annotations

import re
from dataclasses import replace

from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.profile.findings import Findings, under
from pytest_k8s_netem.profile.native import API_VERSION, KIND, parse_impairment
from pytest_k8s_netem.profile.spec import KEYS, parse_directions, parse_shared
from pytest_k8s_netem.profile.trafficprofile import Side, TrafficProfile
from pytest_k8s_netem.profile.upstream import parse_parameters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_k8s_netem.model.timeline import Timeline
    from pytest_k8s_netem.profile.trafficprofile import Rule, Script

NATIVE, UPSTREAM = ("impairment",), ("type", "parameters")
NAME = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
"""A DNS subdomain of RFC 1123, as Kubernetes wants names."""


def parse(obj: object) -> TrafficProfile:
    """The profile that this object declares.

    :raises ConfigError: with every mistake, each with its path.
    """
    findings = Findings()
    told = findings.mapping(obj, "", ("apiVersion", "kind", "metadata", "spec", "status"))
    if not isinstance(obj, dict):
        findings.settle("not a TrafficProfile")
    _check_constant(told, "apiVersion", API_VERSION, findings)
    _check_constant(told, "kind", KIND, findings)
    name, uid, generation = _identity(told.get("metadata"), findings)
    profile = _spec(told.get("spec"), findings)
    findings.settle(f'TrafficProfile "{name}" is not valid' if name else "not a valid TrafficProfile")
    return replace(profile, name=name, uid=uid, generation=generation)


def _check_constant(told: Mapping[str, object], key: str, right: str, findings: Findings) -> None:
    if told.get(key) != right:
        findings.add(key, told.get(key), "not a TrafficProfile", f"write {key}: {right}")


def _identity(metadata: object, findings: Findings) -> tuple[str, str, int]:
    """(name, uid, generation); the rest of the metadata is Kubernetes' own."""
    told = findings.mapping(metadata, "metadata")
    name, uid, generation = told.get("name"), told.get("uid", ""), told.get("generation", 0)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        findings.add("metadata.name", name, "not an object's name", "use lower-case letters, digits, - and .")
        name = ""
    if not isinstance(uid, str):
        findings.add("metadata.uid", uid, "expected text")
    if type(generation) is not int:
        findings.add("metadata.generation", generation, "expected a whole number")
    return name, str(uid), generation if isinstance(generation, int) else 0


def _spec(value: object, findings: Findings) -> TrafficProfile:
    path = "spec"
    told = findings.mapping(value, path, (*KEYS, *NATIVE, *UPSTREAM))
    if not isinstance(value, dict):
        return TrafficProfile("")
    profile = parse_shared(told, path, findings)
    rules = parse_directions(told, path, findings)
    timelines, script = _impairment(told, path, rules, findings)
    sides = {way: Side(rules[way], timelines[way]) for way in rules if way in timelines}
    return replace(profile, egress=sides.get(Direction.EGRESS), ingress=sides.get(Direction.INGRESS), script=script)


def _impairment(
    told: Mapping[str, object], path: str, rules: Mapping[Direction, tuple[Rule, ...]], findings: Findings
) -> tuple[dict[Direction, Timeline], Script | None]:
    """By the dialect that the fields belong to."""
    upstream = [key for key in UPSTREAM if key in told]
    if "impairment" in told:
        for key in upstream:
            why = "belongs to k8s-netem's dialect, impairment to ours; one object speaks one of them"
            findings.missing(under(path, key), why, "keep either impairment or parameters")
        return parse_impairment(told["impairment"], under(path, "impairment"), rules, findings), None
    if upstream:
        return parse_parameters(told, path, findings)
    findings.missing(
        under(path, "impairment"), "missing: what shall happen to packets?", "write impairment: {delay: 100ms}"
    )
    return {}, None
