"""What every store of declared state can do; objects are plain dicts as Kubernetes writes them in JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

Object = dict[str, Any]


class Kind(NamedTuple):
    """A resource type, enough to build its URL."""

    api_version: str
    name: str
    plural: str
    namespaced: bool = True


NAMESPACES = Kind("v1", "Namespace", "namespaces", namespaced=False)
NODES = Kind("v1", "Node", "nodes", namespaced=False)
PODS = Kind("v1", "Pod", "pods")
SERVICEACCOUNTS = Kind("v1", "ServiceAccount", "serviceaccounts")
SERVICES = Kind("v1", "Service", "services")
EVENTS = Kind("v1", "Event", "events")
DEPLOYMENTS = Kind("apps/v1", "Deployment", "deployments")
REPLICASETS = Kind("apps/v1", "ReplicaSet", "replicasets")
ENDPOINTSLICES = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
LEASES = Kind("coordination.k8s.io/v1", "Lease", "leases")
SECRETS = Kind("v1", "Secret", "secrets")
ROLES = Kind("rbac.authorization.k8s.io/v1", "Role", "roles")
ROLEBINDINGS = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
CLUSTERROLES = Kind("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", namespaced=False)
CLUSTERROLEBINDINGS = Kind(
    "rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False
)
DEFINITIONS = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)
MUTATING_WEBHOOKS = Kind(
    "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", namespaced=False
)
VALIDATING_WEBHOOKS = Kind(
    "admissionregistration.k8s.io/v1",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    namespaced=False,
)
BINDINGS = Kind("v1", "Binding", "bindings")
"""Created to put a pod on a node, once (``metadata.name`` is the pod's, ``target.name`` the node's); never read."""
ACCESS_REVIEWS = Kind(
    "authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False
)
"""Created to ask what we may do; every authenticated user may, by the ClusterRole ``system:basic-user``."""
TRAFFICPROFILES = Kind("k8s-netem.riasc.eu/v1", "TrafficProfile", "trafficprofiles", namespaced=False)


@dataclass(frozen=True)
class Listing:
    """The answer to a list."""

    items: list[Object]
    resource_version: str


@dataclass(frozen=True)
class Change:
    """One event of a watch: ``ADDED``, ``MODIFIED``, ``DELETED``, ``BOOKMARK``."""

    type: str
    object: Object = field(repr=False)


class Api(Protocol):
    """Kubernetes' API, as far as the project uses it; every refusal is an :class:`ApiError` with its HTTP status."""

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object:
        """One object (404 NotFound)."""

    async def list(self, kind: Kind, namespace: str | None = None, selector: str = "") -> Listing:
        """Objects of a namespace (None = all) that a label selector takes."""

    def watch(self, kind: Kind, resource_version: str, namespace: str | None = None) -> AsyncGenerator[Change, None]:
        """Changes after a version, without end; 410 Expired when it is too old to resume from."""

    async def create(self, kind: Kind, obj: Object, namespace: str | None = None, *, dry_run: bool = False) -> Object:
        """Make it (409 AlreadyExists, 422 Invalid); ``generateName`` is honoured; ``dry_run`` keeps nothing."""

    async def replace(self, kind: Kind, obj: Object, subresource: str = "") -> Object:
        """Put it in place of the one with that name (409 Conflict if it carries another resourceVersion)."""

    async def patch(
        self, kind: Kind, name: str, patch: Object, namespace: str | None = None, subresource: str = ""
    ) -> Object:
        """JSON merge patch (RFC 7386); ``subresource="status"`` touches nothing but the status."""

    async def apply(self, kind: Kind, obj: Object, namespace: str | None = None) -> Object:
        """Make it, or change what is there to what it says and leave all else as it is, additions of others too."""

    async def delete(self, kind: Kind, name: str, namespace: str | None = None, *, grace: int | None = None) -> None:
        """Delete it, or mark it with a deletionTimestamp while it has finalizers."""

    async def close(self) -> None:
        """End all watches and connections."""
