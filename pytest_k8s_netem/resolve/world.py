"""What resolve knows of the cluster: an index of objects, kept current by the controller, never fetched here."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_k8s_netem.resolve.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pytest_k8s_netem.model.capabilities import Capabilities, Interface
    from pytest_k8s_netem.profile.trafficprofile import TrafficProfile


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What a pod's agent said of itself and of the pod's namespace."""

    capabilities: Capabilities
    interfaces: tuple[Interface, ...]


@dataclass(slots=True)
class World:
    """The cluster as last seen; keys are ``namespace/name`` (cluster-scoped: ``name``), values Kubernetes objects.

    :ivar chosen: per profile uid, the pods that ``count`` or ``follow="start"`` chose
        (``namespace/name``, or owner uid).
    :ivar names: addresses that an FQDN has now, as the controller resolved it. :ivar apiserver: its addresses.
    :ivar view: what of the cluster is seen, and may be touched.
    """

    pods: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    namespaces: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    services: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    endpointslices: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    deployments: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    replicasets: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    nodes: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    profiles: dict[str, TrafficProfile] = field(default_factory=dict)
    targets: dict[str, TargetFacts] = field(default_factory=dict)
    chosen: dict[str, frozenset[str]] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    apiserver: tuple[str, ...] = ()
    view: View = field(default_factory=View)
