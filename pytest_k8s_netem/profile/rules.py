"""Which packets: the rules of ``egress`` and ``ingress``, shaped like a NetworkPolicy's, and back.

A rule's fields are ANDed, the items of each are ORed, rules of one direction are ORed. ``{}`` takes every IP packet.
"""

from __future__ import annotations

from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.profile.addresses import parse_network, render_network, within
from pytest_k8s_netem.profile.findings import Findings
from pytest_k8s_netem.profile.labels import parse_label_selector, render_label_selector
from pytest_k8s_netem.profile.ports import parse_port, render_port
from pytest_k8s_netem.profile.protocols import (
    parse_ether_type,
    parse_protocol,
    render_ether_types,
    render_protocols,
)
from pytest_k8s_netem.profile.selectors import Atom, gather, parse_ref
from pytest_k8s_netem.profile.trafficprofile import (
    Block,
    LabelSelector,
    Operator,
    RefKind,
    Requirement,
    Rule,
    Selection,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""The label that the API server puts on every namespace: its name."""
PEERS = {Direction.EGRESS: "to", Direction.INGRESS: "from"}
DEFAULT_SIDE = {Direction.EGRESS: "remote", Direction.INGRESS: "local"}
"""Rules of objects match destination ports, as upstream's do."""
REFS = {
    "pod": RefKind.POD,
    "service": RefKind.SERVICE,
    "deployment": RefKind.DEPLOYMENT,
    "node": RefKind.NODE,
    "container": RefKind.CONTAINER,
    "fqdn": RefKind.FQDN,
}
_ATOMS = ("podSelector", "ipBlock", *REFS)


def parse_rules(value: object, path: str, direction: Direction) -> tuple[Rule, ...]:
    """The rules of one direction; null and an empty list are none, so nothing is done in that direction.

    :raises ConfigError: with every mistake.
    """
    findings = Findings()
    rules = [_rule(item, where, direction, findings) for where, item in findings.items(value, path)]
    findings.settle()
    return tuple(rules)


def render_rules(rules: Iterable[Rule], direction: Direction) -> list[dict[str, object]]:
    """The list that :func:`parse_rules` reads as these rules."""
    return [_render_rule(rule, direction) for rule in rules]


def parse_selection(value: object, path: str) -> Selection:
    """``{podSelector | ipBlock | pod | service | .., anyOf: [..], namespaceSelector, except: [..]}``.

    The union of all that is named. A namespaceSelector alone means every pod of those namespaces.

    :raises ConfigError: with every mistake.
    """
    findings = Findings()
    told = findings.mapping(value, path, (*_ATOMS, "anyOf", "namespaceSelector", "except"))
    atoms = _atoms(told, path, findings)
    for where, item in findings.items(told.get("anyOf"), f"{path}.anyOf"):
        atoms += _atoms(findings.mapping(item, where, _ATOMS), where, findings)
    if "namespaceSelector" in told and not {*_ATOMS, "anyOf"} & set(told):
        atoms.append(LabelSelector())
    exceptions = [
        findings.read(parse_selection, item, where, Selection())
        for where, item in findings.items(told.get("except"), f"{path}.except")
    ]
    names, namespaces = parse_namespaces(told, path, findings)
    findings.settle()
    union = gather(atoms)
    return Selection(union.selectors, union.refs, union.blocks, names, namespaces, tuple(exceptions))


def render_selection(selection: Selection) -> dict[str, object]:
    """The object that :func:`parse_selection` reads as this selection."""
    parts: list[tuple[Atom, ...]] = [selection.selectors, selection.refs, selection.blocks]
    atoms = [_render_atom(atom) for part in parts for atom in part]
    told: dict[str, object] = {}
    if all(len(part) <= 1 for part in parts):
        for atom in atoms:
            told |= atom
    else:
        told["anyOf"] = atoms
    told |= render_namespaces(selection)
    if selection.exceptions:
        told["except"] = [render_selection(exception) for exception in selection.exceptions]
    return told


def parse_namespaces(
    told: Mapping[str, object], path: str, findings: Findings
) -> tuple[tuple[str, ...], LabelSelector | None]:
    """(names, selector) of ``namespaceSelector``; a requirement on :data:`NAMESPACE_LABEL` is read as names."""
    if "namespaceSelector" not in told:
        return (), None
    where = f"{path}.namespaceSelector" if path else "namespaceSelector"
    selector = findings.read(parse_label_selector, told["namespaceSelector"], where, LabelSelector())
    named = [r for r in selector.requirements if r.key == NAMESPACE_LABEL and r.operator is Operator.IN]
    if not named:
        return (), selector
    rest = tuple(requirement for requirement in selector.requirements if requirement is not named[0])
    return named[0].values, LabelSelector(rest) if rest else None


def render_namespaces(selection: Selection) -> dict[str, object]:
    """``namespaceSelector``, or nothing where all namespaces are meant without saying so."""
    requirements = selection.namespaces.requirements if selection.namespaces else ()
    if selection.names:
        requirements = (Requirement(NAMESPACE_LABEL, Operator.IN, selection.names), *requirements)
    elif selection.namespaces is None:
        return {}
    return {"namespaceSelector": render_label_selector(LabelSelector(requirements))}


def _rule(value: object, path: str, direction: Direction, findings: Findings) -> Rule:
    known = ("etherTypes", "inetProtos", "inetProto", "ports", PEERS[direction])
    told = dict(findings.mapping(value, path, known))
    if "inetProto" in told and "inetProtos" in told:
        findings.missing(f"{path}.inetProto", "is another name of inetProtos", "keep inetProtos")
    key = "inetProto" if "inetProto" in told else "inetProtos"
    side = DEFAULT_SIDE[direction]
    ports = [
        findings.read(lambda item, spot: parse_port(item, spot, side), item, where, None)
        for where, item in findings.items(told.get("ports"), f"{path}.ports")
    ]
    return Rule(
        _numbers(told.get("etherTypes"), f"{path}.etherTypes", parse_ether_type, findings),
        _numbers(told.get(key), f"{path}.{key}", parse_protocol, findings),
        _peers(told.get(PEERS[direction]), f"{path}.{PEERS[direction]}", findings),
        tuple(port for port in ports if port is not None) or None,
    )


def _render_rule(rule: Rule, direction: Direction) -> dict[str, object]:
    told: dict[str, object] = {}
    if rule.ether_types is not None:
        told["etherTypes"] = render_ether_types(rule.ether_types)
    if rule.protocols is not None:
        told["inetProtos"] = render_protocols(rule.protocols)
    if rule.peers is not None:
        told[PEERS[direction]] = [render_selection(peer) for peer in rule.peers] or [{}]
    if rule.ports is not None:
        told["ports"] = [render_port(port, DEFAULT_SIDE[direction]) for port in rule.ports]
    return told


def _numbers(value: object, path: str, reader: Callable[[object, str], int], findings: Findings) -> Ranges | None:
    items = findings.items(value, path)
    return Ranges.of(*(findings.read(reader, item, where, 0) for where, item in items)) if items else None


def _peers(value: object, path: str, findings: Findings) -> tuple[Selection, ...] | None:
    """None for no list or an empty one (any peer, as in a NetworkPolicy); an empty peer takes nothing."""
    items = findings.items(value, path)
    if not items:
        return None
    peers = [findings.read(parse_selection, item, where, Selection()) for where, item in items]
    return tuple(peer for peer in peers if peer.selectors or peer.refs or peer.blocks)


def _atoms(told: Mapping[str, object], path: str, findings: Findings) -> list[Atom]:
    atoms: list[Atom] = []
    for key in _ATOMS:
        if key in told:
            atom = findings.read(_reader(key), told[key], f"{path}.{key}", None)
            atoms += [atom] if atom is not None else []
    return atoms


def _reader(key: str) -> Callable[[object, str], Atom | None]:
    if key == "podSelector":
        return parse_label_selector
    if key == "ipBlock":
        return _block
    return lambda value, path: parse_ref(REFS[key], value, path)


def _block(value: object, path: str) -> Block:
    findings = Findings()
    told = findings.mapping(value, path, ("cidr", "except"))
    network = findings.read(parse_network, told.get("cidr"), f"{path}.cidr", (4, 0, 0))
    holes = []
    for where, item in findings.items(told.get("except"), f"{path}.except"):
        hole = findings.read(parse_network, item, where, network)
        if not findings.problems and not within(hole, network):
            findings.add(where, item, "does not lie in the block's cidr")
        holes.append(hole)
    findings.settle()
    return Block(network, tuple(holes))


def _render_atom(atom: Atom) -> dict[str, object]:
    if isinstance(atom, LabelSelector):
        return {"podSelector": render_label_selector(atom)}
    if isinstance(atom, Block):
        block: dict[str, object] = {"cidr": render_network(atom.network)}
        if atom.exceptions:
            block["except"] = [render_network(hole) for hole in atom.exceptions]
        return {"ipBlock": block}
    return {next(key for key, kind in REFS.items() if kind is atom.kind): atom.name}
