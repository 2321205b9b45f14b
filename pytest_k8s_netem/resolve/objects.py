"""What Kubernetes objects say, read from their plain form; a missing field is as Kubernetes defaults it."""

from __future__ import annotations

import json
from functools import lru_cache
from ipaddress import ip_address, ip_network

from pytest_k8s_netem.model.match import SCTP, TCP, UDP
from pytest_k8s_netem.model.peers import PeerSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

PROTOCOLS = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP}
CONTAINER_LABEL = "k8s-netem.riasc.eu/container"
"""On the Pod object that stands for an attached container: its name."""
CONTAINERS = "container"
"""The namespace of these objects, so that a key reads as users write it: ``container/redis``."""
NETWORKS = "k8s-netem.riasc.eu/networks"
"""Annotation of such an object: JSON, its addresses by the id of the network they belong to."""
SERVICE_LABEL = "kubernetes.io/service-name"
"""On an EndpointSlice: the Service it belongs to (Kubernetes' well-known labels)."""
TEMPLATE_LABEL = "pod-template-hash"
"""On a Deployment's pods: how the name of their ReplicaSet ends."""
SYSTEM_LABEL = "kubernetes.io/os"
"""On every node, and in node selectors: its operating system."""
POD_SECURITY = "pod-security.kubernetes.io/enforce"
"""On a namespace: what its pods may ask for (Pod Security Standards)."""


def metadata(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object's metadata."""
    return obj.get("metadata") or {}


def labels(obj: Mapping[str, Any]) -> Mapping[str, str]:
    """The object's labels."""
    return metadata(obj).get("labels") or {}


def spec(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object's spec."""
    return obj.get("spec") or {}


def status(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object's status."""
    return obj.get("status") or {}


def namespace(key: str) -> str:
    """The namespace in a key ``namespace/name``."""
    return key.partition("/")[0]


def pod_security(of_namespace: Mapping[str, str]) -> str:
    """The label by which a namespace refuses pods with the agent's capabilities; "" = it takes them."""
    level = of_namespace.get(POD_SECURITY, "")
    return f"{POD_SECURITY}={level}" if level in ("baseline", "restricted") else ""


def finished(pod: Mapping[str, Any]) -> bool:
    """Whether all its containers have ended for good; its address may be another's by now."""
    return status(pod).get("phase") in ("Succeeded", "Failed")


def running(pod: Mapping[str, Any]) -> bool:
    """Whether its network answers: Running and not about to go."""
    return status(pod).get("phase") == "Running" and not metadata(pod).get("deletionTimestamp")


def attached(pod: Mapping[str, Any]) -> str:
    """The name under which a container was attached that this object stands for; "" = it is a pod."""
    return labels(pod).get(CONTAINER_LABEL, "")


def shown(key: str) -> str:
    """A pod's key as messages name it: ``pod/web``, ``container/redis``."""
    return key if namespace(key) == CONTAINERS else f"pod/{key.partition('/')[2]}"


def host_network(pod: Mapping[str, Any]) -> bool:
    """Whether it lives in its node's network namespace."""
    return bool(spec(pod).get("hostNetwork"))


def windows(pod: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    """What says that it runs on Windows; "" = nothing does."""
    if (spec(pod).get("os") or {}).get("name") == "windows":
        return "spec.os.name: windows"
    said = ((spec(pod).get("nodeSelector") or {}).get(SYSTEM_LABEL), labels(node).get(SYSTEM_LABEL))
    return f"{SYSTEM_LABEL}=windows" if "windows" in said else ""


def node_name(pod: Mapping[str, Any]) -> str:
    """The node it runs on; "" = not scheduled."""
    return str(spec(pod).get("nodeName") or "")


def networks(pod: Mapping[str, Any]) -> dict[str, PeerSet]:
    """An attached container's addresses by network; {} for pods, whose cluster is one network."""
    if not attached(pod):
        return {}
    told = json.loads((metadata(pod).get("annotations") or {}).get(NETWORKS, "{}"))
    return {str(name): peer_set(addresses) for name, addresses in told.items()}


def pod_addresses(pod: Mapping[str, Any]) -> PeerSet:
    """Its addresses, both families."""
    return peer_set(_pod_texts(pod))


def _pod_texts(pod: Mapping[str, Any]) -> Iterator[str]:
    yield from (entry.get("ip", "") for entry in status(pod).get("podIPs") or ())
    if ip := status(pod).get("podIP"):
        yield ip


def node_addresses(node: Mapping[str, Any]) -> PeerSet:
    """Its addresses, and the first of each of its pod ranges.

    That one is the bridge or gateway of common networks, and the source of the kubelet's health checks there.
    """
    texts = [str(entry.get("address", "")) for entry in status(node).get("addresses") or ()]
    ranges = spec(node).get("podCIDRs") or [spec(node).get("podCIDR") or ""]
    return peer_set([*texts, *(first for text in ranges if (first := _first_host(str(text))))])


def _first_host(cidr: str) -> str:
    try:
        return str(ip_network(cidr, strict=False)[1])
    except (ValueError, IndexError):
        return ""


@lru_cache(maxsize=1 << 16)
def address(text: str) -> tuple[int, int] | None:
    """(family 4 or 6, integer) of a textual address; None if it is none (a hostname)."""
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    return parsed.version, int(parsed)


def textual(family: int, number: int) -> str:
    """An address as text."""
    return str(ip_address(number.to_bytes(4 if family == 4 else 16, "big")))


def peer_set(texts: Iterable[str]) -> PeerSet:
    """The addresses among these texts."""
    parsed = [found for text in texts if (found := address(text))]
    return PeerSet.from_networks([(family, number, 32 if family == 4 else 128) for family, number in parsed])


def owner(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ownerReference of its controller, or of its only owner; {} = none."""
    owners = metadata(obj).get("ownerReferences") or []
    found: Mapping[str, Any] = next((entry for entry in owners if entry.get("controller")), owners[0] if owners else {})
    return found


def named_ports(pod: Mapping[str, Any], name: str, protocol: int) -> tuple[int, ...]:
    """Numbers of its containers' ports of that name and IP protocol."""
    containers = [*(spec(pod).get("initContainers") or ()), *(spec(pod).get("containers") or ())]
    return tuple(
        int(port["containerPort"])
        for container in containers
        for port in container.get("ports") or ()
        if port.get("name") == name and PROTOCOLS.get(port.get("protocol", "TCP")) == protocol
    )
