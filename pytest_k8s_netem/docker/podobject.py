"""The Pod object that stands for a container; pure."""

from __future__ import annotations

import json

from pytest_k8s_netem.resolve.objects import CONTAINER_LABEL, CONTAINERS, NETWORKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.docker.inspection import Container

NODE = "docker"
"""Where such an object is said to run, so that no scheduler takes it for one that waits."""


def pod_of(name: str, container: Container) -> Object:
    """The object without its status; Docker's labels are its labels."""
    return {
        "metadata": {
            "name": name,
            "namespace": CONTAINERS,
            "labels": {**container.labels, CONTAINER_LABEL: name},
            "annotations": notes_of(container),
        },
        "spec": {"nodeName": NODE, "containers": [{"name": name, "image": container.image}]},
    }


def notes_of(container: Container) -> dict[str, str]:
    """What of a container has no place in a Pod."""
    return {NETWORKS: json.dumps({network.id: network.addresses for network in container.networks})}


def status_of(name: str, container: Container, gateways: Iterable[str]) -> Object:
    """Its status.

    :param gateways: addresses of the container's machine that answer it.
    """
    addresses, hosts = container.addresses, list(gateways)
    state = {"running": {"startedAt": container.started}}
    return {
        "phase": "Running",
        "podIP": addresses[0] if addresses else "",
        "podIPs": [{"ip": address} for address in addresses],
        "hostIP": hosts[0] if hosts else "",
        "hostIPs": [{"ip": address} for address in hosts],
        "startTime": container.started,
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [
            {"name": name, "image": container.image, "containerID": f"docker://{container.id}", "state": state}
        ],
    }
