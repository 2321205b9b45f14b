"""The agent in pods that are still to be made: a native sidecar, first of the init containers. Pure."""

from __future__ import annotations

from pytest_k8s_netem.kube import image
from pytest_k8s_netem.kube.ephemeral import CONTAINER, SECURITY
from pytest_k8s_netem.kube.install.names import NEVER
from pytest_k8s_netem.resolve.objects import host_network, windows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pytest_k8s_netem.api.protocol import Object

READY = f"{image.SOCKET}.ready"
"""A file that says: the first plan, empty perhaps, is in force."""
PATIENCE = 10
"""Seconds after which a pod that nobody has a plan for starts all the same."""
STARTED = f"test -e {READY} || test $(($(date +%s) - $(stat -c %Y {image.SOCKET}))) -ge {PATIENCE}"
NO_TOKEN = "netem-no-token"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
OLDEST = (1, 29)
"""The first Kubernetes that has native sidecars unless told otherwise (KEP-753)."""


def container(image_name: str, *, waits: bool = True) -> Object:
    """The sidecar: it starts before every other container.

    :param waits: whether they wait for the first plan. The kubelet looks at containers once a second
        (GenericPLEG, pkg/kubelet/pleg), so that costs each pod another second.
    """
    probe = {
        "exec": {"command": ["sh", "-c", STARTED]},
        "periodSeconds": 1,
        "timeoutSeconds": 5,
        "failureThreshold": 60,
    }
    return {
        "name": CONTAINER,
        "image": image_name,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "args": ["keep", "--socket", image.SOCKET],
        "env": [
            _field("NETEM_POD_NAMESPACE", "metadata.namespace"),
            _field("NETEM_POD_NAME", "metadata.name"),
            {"name": "NETEM_TARGET", "value": "$(NETEM_POD_NAMESPACE)/$(NETEM_POD_NAME)"},
        ],
        "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": SECURITY,
        **({"startupProbe": probe} if waits else {}),
        # The API server mounts a token into each container that has nothing there.
        "volumeMounts": [{"name": NO_TOKEN, "mountPath": TOKEN, "readOnly": True}],
    }


def patch(pod: Object, namespace: str, image_name: str, *, waits: bool = True) -> list[dict[str, Any]]:
    """The JSON patch (RFC 6902) that gives a new pod the sidecar; [] = it has one already, or must not have one.

    The pod is as an admission request brings it: without a name, and perhaps without a namespace of its own.

    :param waits: whether its containers wait for the first plan; without any profile there is none to wait for.
    """
    spec = pod["spec"]
    if namespace in NEVER or host_network(pod) or windows(pod, {}) or has(pod):
        return []
    volume = {"name": NO_TOKEN, "emptyDir": {}}
    return [_first(spec, "initContainers", container(image_name, waits=waits)), _first(spec, "volumes", volume)]


def has(pod: Object) -> bool:
    """Whether the pod has the sidecar."""
    return any(entry.get("name") == CONTAINER for entry in pod["spec"].get("initContainers") or ())


def waits(pod: Object) -> str:
    """The id of a sidecar that runs and for whose first plan the pod's other containers wait; "" = there is none."""
    status = pod.get("status") or {}
    for entry in status.get("initContainerStatuses") or ():
        running = "running" in (entry.get("state") or {})
        if entry["name"] == CONTAINER and running and not entry.get("started") and status.get("podIP"):
            return str(entry.get("containerID", ""))
    return ""


def _first(spec: Object, field: str, value: Object) -> dict[str, Any]:
    if not isinstance(spec.get(field) or [], list):
        raise TypeError(f"spec.{field} is no list")
    if spec.get(field):
        return {"op": "add", "path": f"/spec/{field}/0", "value": value}
    return {"op": "add", "path": f"/spec/{field}", "value": [value]}


def _field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
