"""What a chart for Helm has beside the objects: a farewell that heals before Helm deletes, and words at the end."""

from __future__ import annotations

from pytest_k8s_netem.kube.install.names import CONTROLLER, NAMESPACE, SHARED
from pytest_k8s_netem.kube.install.workload import CONFINED, NOBODY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Object

NOTES = """\
The controller runs in namespace {{ .Release.Namespace }}.
Pods of a namespace are impaired once it is enabled: netem namespace enable NAMESPACE
"""
NAME = "netem-farewell"
LABELS = {"app.kubernetes.io/name": NAME, **SHARED}
ONLY_BEFORE = {"helm.sh/hook": "pre-delete", "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded"}


def farewell(controller_image: str) -> Object:
    """A Job that deletes all TrafficProfiles and waits until they are healed, while the controller still lives."""
    container = {
        "name": "farewell",
        "image": controller_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-s", "-m", "pytest_k8s_netem.kube.farewell"],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": CONFINED,
    }
    pod = {
        "serviceAccountName": CONTROLLER,
        "automountServiceAccountToken": True,
        "restartPolicy": "Never",
        "securityContext": NOBODY,
        "containers": [container],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": LABELS, "annotations": ONLY_BEFORE},
        "spec": {"backoffLimit": 2, "template": {"metadata": {"labels": LABELS}, "spec": pod}},
    }
