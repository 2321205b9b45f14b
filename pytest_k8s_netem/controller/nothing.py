"""What to say of a profile whose words select nothing: what was looked for, where, and what is there instead; pure."""

from __future__ import annotations

from collections import Counter

from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.profile.ports import format_port
from pytest_k8s_netem.profile.selectors import format_selection
from pytest_k8s_netem.profile.trafficprofile import RefKind
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.peers import remotes
from pytest_k8s_netem.resolve.rules import peers_of
from pytest_k8s_netem.resolve.select import in_namespaces, pods_of, within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from pytest_k8s_netem.profile.trafficprofile import Rule, Selection, TrafficProfile
    from pytest_k8s_netem.resolve.index import Index
    from pytest_k8s_netem.resolve.peers import Remotes

EVERY = "every pod"
"""How a selection of all pods is written."""
NOWHERE = "there is no pod at all"
PORTS_OF = "names are those of containerPorts, numbers of a Service are its own"
"""What a port may be called."""
MOST = 12
"""Pods that a message lists."""


def vain(profile: TrafficProfile, index: Index) -> bool:
    """Whether it selects no pod, or only peers that are nowhere, so that it would touch nothing."""
    if not pods_of(index, profile.pods):
        return True
    sides = [side for side in (profile.egress, profile.ingress) if side is not None]
    return bool(sides) and not any(_reaches(rule, index) for side in sides for rule in side.rules)


def _reaches(rule: Rule, index: Index) -> bool:
    return rule.peers is None or any(_anybody(remotes(index, peer)) for peer in rule.peers)


def _anybody(found: Remotes) -> bool:
    return bool(found.meant or found.vips)


def no_pod(profile: TrafficProfile, index: Index) -> str:
    """A profile selects no pod."""
    if missing := _unattached(profile.pods, index):
        return missing
    words = format_selection(profile.pods)
    told = "there is no pod to impair" if words == EVERY else f"{words} selects no pod"
    return f"{told}{_where(profile.pods)}; {_there(profile.pods, index)}"


def no_peer(profile: TrafficProfile, index: Index, pods: int) -> str:
    """A profile takes no packet of its pods, since its peers are nowhere, or have not the ports that it asks for."""
    if ports := _unknown_ports(profile, index):
        return f"no packet of the selected pods ({pods}) would be met: no peer has port {some(ports)}; {PORTS_OF}"
    peers = dict.fromkeys(peer for way in Direction for peer in peers_of(profile, way))
    if missing := next(filter(None, (_unattached(peer, index) for peer in peers)), ""):
        return missing
    told = "; ".join(_vain_peer(peer) for peer in peers)
    there = _there(next((peer for peer in peers if not _is_name(peer)), None) or profile.pods, index)
    met = f"no packet of the selected pods ({pods}) would be met: {told or 'its rules have no peer'}"
    return met if peers and all(map(_is_name, peers)) else f"{met}; {there}"


def _unknown_ports(profile: TrafficProfile, index: Index) -> list[str]:
    """The ports of rules whose peers are there."""
    sides = [side for side in (profile.egress, profile.ingress) if side is not None]
    rules = [rule for side in sides for rule in side.rules if _reaches(rule, index)]
    return list(dict.fromkeys(format_port(port) for rule in rules for port in rule.ports or ()))


def _vain_peer(peer: Selection) -> str:
    if _is_name(peer):
        return f"{format_selection(peer)} has no address: the name cannot be resolved from here"
    return f"{format_selection(peer)} selects nothing{_where(peer)}"


def _is_name(peer: Selection) -> bool:
    """Whether it is nothing but names of hosts, of which no pod is one."""
    kinds = {ref.kind for ref in peer.refs}
    return kinds == {RefKind.FQDN} and not peer.selectors and not peer.blocks


def _unattached(selection: Selection, index: Index) -> str:
    """A selection names a container that nobody has attached."""
    there = sorted(name for pod in index.live.values() if (name := objects.attached(pod)))
    names = [ref.name for ref in selection.refs if ref.kind is RefKind.CONTAINER and ref.name not in there]
    if not names:
        return ""
    known = f"attached are {some([f'container/{name}' for name in there])}" if there else "none is attached"
    return (
        f"{some([f'container/{name}' for name in names])}: nobody has attached a container of that name, {known}; "
        f'attach it in a fixture of the test: netem.attach(container, as_="{names[0]}")'
    )


def _where(selection: Selection) -> str:
    if not selection.names:
        return ""
    word = "namespace" if len(selection.names) == 1 else "namespaces"
    return f" in {word} {', '.join(selection.names)}"


def _there(selection: Selection, index: Index) -> str:
    """The pods where it looked, with their labels; else where there are any."""
    if known := sorted(_LISTED.get(_kind(selection), _nothing)(index, selection)):
        return f"there are {some(known)}"
    near = [key for key in index.live if within(index, key, selection)]
    if near:
        return f"there are {some([_pod(key, index.live[key]) for key in near])}"
    far = Counter(objects.namespace(key) for key, pod in index.live.items() if not objects.attached(pod))
    if not far:
        return NOWHERE
    elsewhere = some([f"{name} ({count})" for name, count in sorted(far.items())])
    return f"that has no pods; there are some in namespace {elsewhere}: say namespaces= to reach them"


def _kind(selection: Selection) -> RefKind:
    """What all of a selection's words name, where that is one kind of thing; else pods."""
    kinds = {ref.kind for ref in selection.refs}
    return next(iter(kinds)) if len(kinds) == 1 and not (selection.selectors or selection.blocks) else RefKind.POD


def _nothing(_index: Index, _: Selection) -> list[str]:
    return []


def _nodes(index: Index, _: Selection) -> list[str]:
    return [f"node/{name}" for name in index.world.nodes]


def _services(index: Index, selection: Selection) -> list[str]:
    keys = (key.partition("/") for key in index.world.services)
    return [f"svc/{name}" for namespace, _, name in keys if in_namespaces(index, namespace, selection)]


def _deployments(index: Index, selection: Selection) -> list[str]:
    keys = (key.partition("/") for key in index.world.deployments)
    return [f"deploy/{name}" for namespace, _, name in keys if in_namespaces(index, namespace, selection)]


_LISTED = {RefKind.NODE: _nodes, RefKind.SERVICE: _services, RefKind.DEPLOYMENT: _deployments}
"""What is listed by name where a selection names such things only; else, and where none can be seen, pods are."""


def _pod(key: str, pod: Mapping[str, Any]) -> str:
    labels = ",".join(f"{name}={value}" for name, value in sorted(objects.labels(pod).items()))
    return f"{objects.shown(key)} ({labels or 'no labels'})"


def some(texts: list[str]) -> str:
    """The first of many, and how many more there are."""
    return ", ".join(_cut(texts))


def _cut(texts: list[str]) -> Iterator[str]:
    yield from texts[:MOST]
    if len(texts) > MOST:
        yield f"and {len(texts) - MOST} more"
