"""Namespaces whose pods may be impaired: label and RoleBinding together, or neither."""

from __future__ import annotations

from pytest_k8s_netem.api.protocol import CLUSTERROLES, NAMESPACES, ROLEBINDINGS
from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.kube.deleting import deleted, found
from pytest_k8s_netem.kube.install.apply import apply
from pytest_k8s_netem.kube.install.names import AGENTS, NEVER
from pytest_k8s_netem.kube.install.rights import agents_binding
from pytest_k8s_netem.resolve.objects import pod_security
from pytest_k8s_netem.run.identity import INJECT, INJECTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Api


async def enable(api: Api, namespace: str) -> None:
    """Let the controller into a namespace: new pods come with an agent, pods that run can be given one.

    :raises ConfigError: if that namespace cannot be. :raises ApiError: if the API server refuses.
    """
    if namespace in NEVER:
        raise ConfigError(f"namespace {namespace} is never touched")
    found = await api.get(NAMESPACES, namespace)
    if label := pod_security(found["metadata"].get("labels") or {}):
        raise ConfigError(
            f"namespace {namespace} has the label {label}, which refuses pods with an agent (NET_ADMIN, NET_RAW); "
            "set it to privileged, or use another namespace"
        )
    if not await installed(api):
        raise ConfigError("nothing is installed in this cluster: netem install")
    await apply(api, ROLEBINDINGS, agents_binding(namespace))  # first: who gets an agent can be reached
    await api.patch(NAMESPACES, namespace, {"metadata": {"labels": {INJECT: INJECTED}}})


async def disable(api: Api, namespace: str) -> None:
    """Take both back; pods keep the agents that they have, idle.

    :raises ApiError: if the API server refuses.
    """
    await api.patch(NAMESPACES, namespace, {"metadata": {"labels": {INJECT: None}}})
    await deleted(api, ROLEBINDINGS, agents_binding(namespace))


async def installed(api: Api) -> bool:
    """Whether there is an installation in this cluster.

    :raises ApiError: if the API server does not say.
    """
    return await found(api, CLUSTERROLES, AGENTS) is not None
