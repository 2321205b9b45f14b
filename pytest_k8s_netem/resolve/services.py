"""What a Service's virtual addresses stand for: (address, port) in front of (endpoint, target port)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.index import Index, once
from pytest_k8s_netem.resolve.select import service_pods, slices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any


@dataclass(frozen=True, slots=True)
class Front:
    """One port of a Service.

    :ivar vips: its ClusterIPs; empty for a headless Service. :ivar endpoints: whom it stands for.
    :ivar name: the port's name. :ivar targets: port numbers at the endpoints. :ivar target_name: as the pods name it.
    """

    service: str
    vips: PeerSet
    endpoints: PeerSet
    protocol: int
    port: int
    name: str
    targets: Ranges
    target_name: str = ""


@once
def fronts(index: Index, key: str) -> tuple[Front, ...]:
    """The ports of a Service; none for a headless one without ports and for an ExternalName."""
    service = objects.spec(index.world.services[key])
    ports = [port for port in service.get("ports") or () if port.get("protocol", "TCP") in objects.PROTOCOLS]
    return tuple(_front(index, key, port) for port in ports)


def _front(index: Index, key: str, port: Mapping[str, Any]) -> Front:
    target = port.get("targetPort") or port["port"]
    protocol = objects.PROTOCOLS[port.get("protocol", "TCP")]
    name = str(port.get("name") or "")
    return Front(
        service=key,
        vips=vips(index, key),
        endpoints=endpoints(index, key),
        protocol=protocol,
        port=int(port["port"]),
        name=name,
        targets=Ranges.of(*_numbers(index, key, target, protocol), *_sliced(index, key, name)),
        target_name=target if isinstance(target, str) else "",
    )


def _numbers(index: Index, key: str, target: int | str, protocol: int) -> Iterable[int]:
    if isinstance(target, int):
        return (target,)
    pods = (index.live[pod] for pod in service_pods(index, key))
    return {number for pod in pods for number in objects.named_ports(pod, target, protocol)}


def _sliced(index: Index, key: str, name: str) -> set[int]:
    """Target ports as the EndpointSlices say them: the only source for a Service without a selector."""
    ports = (port for piece in slices(index, key) for port in piece["ports"] or ())
    return {int(port["port"]) for port in ports if port.get("port") and (port.get("name") or "") == name}


@once
def vips(index: Index, key: str) -> PeerSet:
    """A Service's ClusterIPs; ``None`` (headless) is no address."""
    service = objects.spec(index.world.services[key])
    return objects.peer_set([*(service.get("clusterIPs") or ()), service.get("clusterIP") or ""])


@once
def endpoints(index: Index, key: str) -> PeerSet:
    """The addresses behind a Service: its pods', and those that only its EndpointSlices know."""
    pods = service_pods(index, key)
    found = union(objects.pod_addresses(index.live[pod]) for pod in pods)
    if objects.spec(index.world.services[key]).get("selector"):
        return found
    entries = (endpoint for piece in slices(index, key) for endpoint in piece["endpoints"] or ())
    return found | objects.peer_set(text for entry in entries for text in entry.get("addresses") or ())


@once
def services_of(index: Index) -> dict[str, tuple[str, ...]]:
    """Keys of the Services that stand in front of each pod."""
    found: dict[str, list[str]] = defaultdict(list)
    for key in sorted(index.world.services):
        for pod in service_pods(index, key):
            found[pod].append(key)
    return {pod: tuple(keys) for pod, keys in found.items()}


def union(sets: Iterable[PeerSet]) -> PeerSet:
    """All addresses of many sets, sorted once."""
    v4: list[tuple[int, int]] = []
    v6: list[tuple[int, int]] = []
    for one in sets:
        v4 += one.v4.pairs
        v6 += one.v6.pairs
    return PeerSet(Ranges.joined(v4), Ranges.joined(v6))
