"""The agent in pods that are still to be made: a native sidecar, first of the init containers. Pure."""

from __future__ import annotations

from pytest_k8s_netem.kube import image
from pytest_k8s_netem.kube.ephemeral import CONTAINER, SECURITY
from pytest_k8s_netem.kube.install.names import NEVER
from pytest_k8s_netem.resolve.objects import finished, host_network, windows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pytest_k8s_netem.api.protocol import Object

READY = f"{image.SOCKET}.ready"
"""A file that says: the first plan, empty perhaps, is in force."""
PATIENCE = 10
"""Seconds after which a pod that nobody has a plan for starts all the same."""
HELD = f"{' '.join(image.PROGRAM)} wait --file {READY} --within {PATIENCE} || true"
"""What the kubelet runs in the sidecar, and waits for, before it starts any other container. Where a hook fails the
kubelet kills its container; this one cannot."""
NO_TOKEN = "netem-no-token"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
OLDEST = (1, 29)
"""The first Kubernetes that has native sidecars unless told otherwise (KEP-753)."""


def container(image_name: str) -> Object:
    """The sidecar: it starts before every other container, and they wait for the first plan.

    They wait in a hook, not for a startup probe: the kubelet looks at containers once a second (GenericPLEG,
    pkg/kubelet/pleg), and with a probe it would look twice.
    """
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
        "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", HELD]}}},
        # The API server mounts a token into each container that has nothing there.
        "volumeMounts": [{"name": NO_TOKEN, "mountPath": TOKEN, "readOnly": True}],
    }


def patch(pod: Object, namespace: str, image_name: str) -> list[dict[str, Any]]:
    """The JSON patch (RFC 6902) that gives a new pod the sidecar; [] = it has one already, or must not have one.

    The pod is as an admission request brings it: without a name, and perhaps without a namespace of its own.
    """
    spec = pod["spec"]
    if namespace in NEVER or host_network(pod) or windows(pod, {}) or has(pod):
        return []
    volume = {"name": NO_TOKEN, "emptyDir": {}}
    return [_first(spec, "initContainers", container(image_name)), _first(spec, "volumes", volume)]


def has(pod: Object) -> bool:
    """Whether the pod has the sidecar."""
    return bool(_ours(pod["spec"].get("initContainers")))


def held(pod: Object) -> bool:
    """Whether its kubelet stands in the sidecar's hook, and not at the startup probe that an older webhook gave."""
    return "postStart" in (_ours(pod["spec"].get("initContainers")).get("lifecycle") or {})


def waits(pod: Object) -> str:
    """What tells a start of the sidecar, for whose first plan other containers wait, from others; "" = none waits.

    Of a pod in the hook the API knows only what was before: its status comes after it.
    """
    status, meta = pod.get("status") or {}, pod["metadata"]
    entry = _ours(status.get("initContainerStatuses"))
    running, last = "running" in (entry.get("state") or {}), str(entry.get("containerID") or "")
    if held(pod):
        starts = bool(pod["spec"].get("nodeName")) and not running and not finished(pod)
        return f"{meta['uid']} {last}" if starts and not meta.get("deletionTimestamp") else ""
    return last if running and not entry.get("started") and status.get("podIP") else ""


def _ours(entries: Any) -> Object:
    """That of the sidecar among a pod's init containers, or among their statuses; {} = there is none."""
    return next((dict(entry) for entry in entries or () if entry.get("name") == CONTAINER), {})


def _first(spec: Object, field: str, value: Object) -> dict[str, Any]:
    if not isinstance(spec.get(field) or [], list):
        raise TypeError(f"spec.{field} is no list")
    if spec.get(field):
        return {"op": "add", "path": f"/spec/{field}/0", "value": value}
    return {"op": "add", "path": f"/spec/{field}", "value": [value]}


def _field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
