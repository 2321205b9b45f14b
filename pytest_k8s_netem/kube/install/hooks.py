"""The two webhook configurations; both let pass what the controller cannot be asked about."""

from __future__ import annotations

from pytest_k8s_netem.kube.install.names import CONTROLLER, NAMESPACE, NEVER, PARTS, WEBHOOKS
from pytest_k8s_netem.kube.webhook import MUTATE, VALIDATE
from pytest_k8s_netem.profile.rules import NAMESPACE_LABEL
from pytest_k8s_netem.run.identity import INJECT, INJECTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Object

TIMEOUT = 5
"""Seconds that a pod's creation waits for an answer; 0.02 are usual."""


def mutating(client: Object | None = None) -> Object:
    """Gives new pods of opted-in namespaces their agent.

    :param client: how the API server reaches it; None = by the Service.
    """
    hook = {
        **_common(f"pods.{WEBHOOKS}", client or _service(MUTATE)),
        "rules": [_rule("", "v1", "pods", ("CREATE",), "Namespaced")],
        "namespaceSelector": {
            "matchLabels": {INJECT: INJECTED},
            "matchExpressions": [{"key": NAMESPACE_LABEL, "operator": "NotIn", "values": sorted(NEVER)}],
        },
        "reinvocationPolicy": "IfNeeded",  # a later webhook may put a container before ours
    }
    return _configuration("MutatingWebhookConfiguration", hook)


def validating(client: Object | None = None) -> Object:
    """Refuses TrafficProfiles that cannot be meant."""
    hook = {
        **_common(f"trafficprofiles.{WEBHOOKS}", client or _service(VALIDATE)),
        "rules": [_rule("k8s-netem.riasc.eu", "v1", "trafficprofiles", ("CREATE", "UPDATE"), "Cluster")],
    }
    return _configuration("ValidatingWebhookConfiguration", hook)


def _common(name: str, client: Object) -> Object:
    return {
        "name": name,
        "clientConfig": client,
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Ignore",  # a cluster without our controller works as before
        "matchPolicy": "Equivalent",
        "timeoutSeconds": TIMEOUT,
    }


def _rule(group: str, version: str, resource: str, operations: tuple[str, ...], scope: str) -> Object:
    return {
        "apiGroups": [group],
        "apiVersions": [version],
        "resources": [resource],
        "operations": [*operations],
        "scope": scope,
    }


def _service(path: str) -> Object:
    return {"service": {"namespace": NAMESPACE, "name": CONTROLLER, "path": path, "port": 443}}


def _configuration(kind: str, hook: Object) -> Object:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": WEBHOOKS, "labels": PARTS},
        "webhooks": [hook],
    }
