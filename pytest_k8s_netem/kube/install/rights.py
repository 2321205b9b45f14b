"""What the controller may do in a cluster, each rule with its reason; docs/reference/rights.md is made from this."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_k8s_netem.kube.install.names import AGENTS, CERTIFICATES, CONTROLLER, LEADER, NAMESPACE, PARTS, WEBHOOKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_k8s_netem.api.protocol import Object

RBAC = "rbac.authorization.k8s.io/v1"
FOLLOW = ("get", "list", "watch")


@dataclass(frozen=True, slots=True)
class Right:
    """One rule of a role.

    :ivar group: API group, "" = the core one. :ivar why: what it is for, in a sentence without a final stop.
    :ivar names: of the only objects that it is about; () = all.
    """

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    why: str
    names: tuple[str, ...] = ()

    def rule(self) -> Object:
        """As an RBAC rule."""
        rule: Object = {"apiGroups": [self.group], "resources": [*self.resources], "verbs": [*self.verbs]}
        return rule | ({"resourceNames": [*self.names]} if self.names else {})


PROFILES = "k8s-netem.riasc.eu"
EVERYWHERE = (
    Right(
        PROFILES,
        ("trafficprofiles",),
        (*FOLLOW, "patch", "delete"),
        "reads what is declared; keeps an object until its pods are healed (finalizer); removes those of dead runs",
    ),
    Right(PROFILES, ("trafficprofiles/status",), ("patch",), "says what is in force and proven"),
    Right(
        "",
        ("pods", "namespaces", "nodes", "services"),
        FOLLOW,
        "knows whom selectors take and under which addresses, and which addresses are to be spared",
    ),
    Right("discovery.k8s.io", ("endpointslices",), FOLLOW, "knows the pods behind Services"),
    Right("apps", ("deployments", "replicasets"), FOLLOW, "knows which pods a Deployment has, and who replaces a pod"),
    Right(
        "coordination.k8s.io",
        ("leases",),
        ("get",),
        "notices that a run is dead, whose profiles are then to be removed and whose agents may rest",
    ),
    Right(
        "admissionregistration.k8s.io",
        ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"),
        ("get", "patch"),
        "tells the API server which CA its webhooks' certificates are of",
        (WEBHOOKS,),
    ),
)
"""In all namespaces: nothing of this reaches into a pod."""
OWN = (
    Right("", ("secrets",), ("get", "patch"), "keeps its webhooks' certificates and their keys", (CERTIFICATES,)),
    Right("coordination.k8s.io", ("leases",), ("create",), "makes the Lease of the controller that acts"),
    Right(
        "coordination.k8s.io", ("leases",), ("get", "update", "patch"), "holds it, so that one of two acts", (LEADER,)
    ),
)
"""In its own namespace."""
OPTED_IN = (
    Right(
        "",
        ("pods/exec",),
        ("get", "create"),
        "speaks to the agent in a pod; a websocket begins as get, and newer API servers ask for create",
    ),
    Right("", ("pods/ephemeralcontainers",), ("patch",), "gives a pod that runs already its agent"),
)
"""In namespaces that were enabled, by a RoleBinding there: ``netem namespace enable``."""


def cluster_role(name: str, rights: Iterable[Right]) -> Object:
    """A ClusterRole."""
    metadata = {"name": name, "labels": PARTS}
    return {"apiVersion": RBAC, "kind": "ClusterRole", "metadata": metadata, "rules": [one.rule() for one in rights]}


def own_role() -> Object:
    """The Role in the controller's namespace."""
    metadata = {"name": CONTROLLER, "namespace": NAMESPACE, "labels": PARTS}
    return {"apiVersion": RBAC, "kind": "Role", "metadata": metadata, "rules": [one.rule() for one in OWN]}


def binding(kind: str, name: str, role_kind: str, namespace: str = "") -> Object:
    """Gives the controller a role.

    :param kind: ClusterRoleBinding, or RoleBinding in ``namespace``.
    """
    where = {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": RBAC,
        "kind": kind,
        "metadata": {"name": name, **where, "labels": PARTS},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": CONTROLLER, "namespace": NAMESPACE}],
    }


def agents_binding(namespace: str) -> Object:
    """What lets the controller into the pods of one namespace."""
    return binding("RoleBinding", AGENTS, "ClusterRole", namespace)


def closed(namespace: str) -> str:
    """What it means that the controller is refused in a namespace, and what mends that."""
    return (
        f"the controller may not use pods/exec in namespace {namespace}; "
        f"netem namespace enable {namespace} gives it the RoleBinding"
    )
