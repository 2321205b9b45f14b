"""Names that the installed objects and the controller know each other by."""

from __future__ import annotations

from pytest_k8s_netem.resolve.view import SYSTEM

NAMESPACE = "k8s-netem"
CONTROLLER = "netem-controller"
"""Name of the Deployment, its ServiceAccount, its Service, its ClusterRole and the bindings."""
CONTAINER = "controller"
"""Its container in the Deployment's pods."""
AGENTS = "netem-agents"
"""The ClusterRole of what may be done in pods, and the RoleBindings that allow it in one namespace each."""
WEBHOOKS = "k8s-netem.riasc.eu"
"""Name of both webhook configurations."""
CERTIFICATES = "netem-webhook"
"""The Secret with the webhooks' certificates."""
LEADER = "netem-controller"
"""The Lease of the controller that acts."""
WITNESS = "/tmp/netem"
"""Socket in the controller's container, whose root is read-only but for this folder: what it knows of profiles."""
PORT = 8443
"""Where the controller listens in its pod; its user may not take 443."""
NEVER = SYSTEM | {NAMESPACE}
"""Namespaces that are never touched."""
SHARED = {"app.kubernetes.io/part-of": "pytest-k8s-netem"}
PARTS = {"app.kubernetes.io/name": CONTROLLER, **SHARED}
"""Labels of all that is installed; the first selects the controller's pods."""


def service_names(namespace: str = NAMESPACE) -> tuple[str, ...]:
    """Under which the API server may call the webhooks' Service."""
    return f"{CONTROLLER}.{namespace}.svc", f"{CONTROLLER}.{namespace}.svc.cluster.local"
