"""The controller as a workload: Deployment, Service, account, and the Secret that it fills."""

from __future__ import annotations

from pytest_k8s_netem.kube.install.names import CERTIFICATES, CONTAINER, CONTROLLER, NAMESPACE, PARTS, PORT
from pytest_k8s_netem.kube.webhook import ALIVE, HEALTH
from pytest_k8s_netem.resolve.objects import POD_SECURITY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Object

SELECTOR = {"app.kubernetes.io/name": CONTROLLER}
RUN_DIRECTORY = "/tmp"
"""The one place where the controller may write; in memory."""
USER = 65532
"""The image's nobody."""
NOBODY: Object = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONFINED: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""What of a pod and of its container the strictest of the Pod Security Standards asks for."""


def namespace() -> Object:
    """Its own; it asks for so little that its pods keep the strictest of the Pod Security Standards."""
    labels = {**PARTS, POD_SECURITY: "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def account() -> Object:
    """Its ServiceAccount; no pod gets a token by it unless it asks."""
    return {**_object("v1", "ServiceAccount", CONTROLLER), "automountServiceAccountToken": False}


def secret() -> Object:
    """Empty: with this one there the controller needs no right to make any."""
    return {**_object("v1", "Secret", CERTIFICATES), "type": "Opaque"}


def service() -> Object:
    """Where the API server finds the webhooks."""
    ports = [{"name": "webhooks", "port": 443, "targetPort": PORT, "protocol": "TCP"}]
    return {**_object("v1", "Service", CONTROLLER), "spec": {"selector": SELECTOR, "ports": ports}}


def deployment(controller_image: str, agent_image: str) -> Object:
    """One controller; while it is replaced there are two for a moment, of which one acts: the Lease's holder."""
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": SELECTOR},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"metadata": {"labels": PARTS}, "spec": _pod(controller_image, agent_image)},
    }
    return {**_object("apps/v1", "Deployment", CONTROLLER), "spec": spec}


def _pod(controller_image: str, agent_image: str) -> Object:
    return {
        "serviceAccountName": CONTROLLER,
        "automountServiceAccountToken": True,
        "terminationGracePeriodSeconds": 10,
        "securityContext": NOBODY,
        "volumes": [{"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}],
        "containers": [_container(controller_image, agent_image)],
    }


def _container(controller_image: str, agent_image: str) -> Object:
    field = {"fieldRef": {"fieldPath": "metadata.name"}}
    return {
        "name": CONTAINER,
        "image": controller_image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "NETEM_AGENT_IMAGE", "value": agent_image}, {"name": "NETEM_POD", "valueFrom": field}],
        "ports": [{"name": "webhooks", "containerPort": PORT, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": CONFINED,
        "volumeMounts": [{"name": "run", "mountPath": RUN_DIRECTORY}],
        "startupProbe": _probe(ALIVE, 1, 60),
        "readinessProbe": _probe(HEALTH, 1, 3),
        "livenessProbe": _probe(ALIVE, 10, 3),
    }


def _probe(path: str, every: int, failures: int) -> Object:
    get = {"path": path, "port": PORT, "scheme": "HTTPS"}
    return {"httpGet": get, "periodSeconds": every, "timeoutSeconds": 5, "failureThreshold": failures}


def _object(api_version: str, kind: str, name: str) -> Object:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": PARTS}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}
