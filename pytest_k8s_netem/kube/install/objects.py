"""All that is installed, in the order in which it can be made."""

from __future__ import annotations

from pytest_k8s_netem.api.protocol import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    DEFINITIONS,
    DEPLOYMENTS,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    ROLEBINDINGS,
    ROLES,
    SECRETS,
    SERVICEACCOUNTS,
    SERVICES,
    VALIDATING_WEBHOOKS,
)
from pytest_k8s_netem.kube.install import hooks, rights, workload
from pytest_k8s_netem.kube.install.names import AGENTS, CONTROLLER, NAMESPACE
from pytest_k8s_netem.profile.schema import definition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Kind, Object

Wanted = tuple["Kind", "Object"]


def objects(controller_image: str, agent_image: str) -> list[Wanted]:
    """Everything, with the images' names as the nodes know them."""
    return [
        (NAMESPACES, workload.namespace()),
        (DEFINITIONS, definition()),
        (SERVICEACCOUNTS, workload.account()),
        (CLUSTERROLES, rights.cluster_role(CONTROLLER, rights.EVERYWHERE)),
        (CLUSTERROLES, rights.cluster_role(AGENTS, rights.OPTED_IN)),
        (ROLES, rights.own_role()),
        (CLUSTERROLEBINDINGS, rights.binding("ClusterRoleBinding", CONTROLLER, "ClusterRole")),
        (ROLEBINDINGS, rights.binding("RoleBinding", CONTROLLER, "Role", NAMESPACE)),
        (SECRETS, workload.secret()),
        (SERVICES, workload.service()),
        (DEPLOYMENTS, workload.deployment(controller_image, agent_image)),
        (MUTATING_WEBHOOKS, hooks.mutating()),
        (VALIDATING_WEBHOOKS, hooks.validating()),
    ]
