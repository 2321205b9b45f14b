"""EndpointSlices of the local cluster's Services: one a family, of the pods that are ready."""

from __future__ import annotations

import contextlib

from pytest_k8s_netem.api.conditions import is_ready
from pytest_k8s_netem.api.protocol import ENDPOINTSLICES, PODS, SERVICES
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.local.names import families, selects
from pytest_k8s_netem.local.podspec import port_number
from pytest_k8s_netem.resolve.objects import SERVICE_LABEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.controller.runtime import Runtime


class Endpoints:
    """Keeps the slices of all Services current."""

    def __init__(self, runtime: Runtime) -> None:
        self._api = runtime.api
        self._services = runtime.informer(SERVICES)
        self._pods = runtime.informer(PODS)
        self._slices = runtime.informer(ENDPOINTSLICES)
        self._controller = runtime.controller("endpoints", self._reconcile)
        self._services.subscribe(lambda key, *_: self._controller.queue.add(key))
        self._pods.subscribe(self._pod_changed)

    def _pod_changed(self, _: str, old: Object | None, new: Object | None) -> None:
        for key, service in self._services.objects.items():
            if any(pod and selects(service, pod) for pod in (old, new)):
                self._controller.queue.add(key)

    async def _reconcile(self, key: str) -> None:
        service = self._services.objects.get(key)
        if service is None:
            return  # its slices go with it: it owns them
        pods = [pod for pod in self._pods.objects.values() if selects(service, pod) and _counts(pod)]
        for family, wanted in zip(("IPv4", "IPv6"), families(service), strict=True):
            if wanted:
                await self._write(_slice(service, family, pods))

    async def _write(self, wanted: Object) -> None:
        meta = wanted["metadata"]
        old = self._slices.objects.get(f"{meta['namespace']}/{meta['name']}")
        if old is None:
            with contextlib.suppress(ApiError):  # 409: ours of a moment ago, not yet seen; its event brings us back
                await self._api.create(ENDPOINTSLICES, wanted, meta["namespace"])
                return
        if old is None or any((old.get(part) or []) != wanted[part] for part in ("endpoints", "ports")):
            patch = {part: wanted[part] for part in ("endpoints", "ports")}
            await self._api.patch(ENDPOINTSLICES, meta["name"], patch, meta["namespace"])


def _counts(pod: Object) -> bool:
    status = pod.get("status") or {}
    return bool(status.get("podIPs")) and status.get("phase") not in ("Succeeded", "Failed")


def _slice(service: Object, family: str, pods: list[Object]) -> Object:
    meta = service["metadata"]
    owner = {"apiVersion": "v1", "kind": "Service", "name": meta["name"], "uid": meta["uid"], "controller": True}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{meta['name']}-{family.lower()}",
            "namespace": meta["namespace"],
            "labels": {SERVICE_LABEL: meta["name"]},
            "ownerReferences": [owner],
        },
        "addressType": family,
        "endpoints": [entry for pod in pods for entry in _endpoint(pod, family, service)],
        "ports": [_port(port, pods) for port in service["spec"].get("ports") or ()],
    }


def _endpoint(pod: Object, family: str, service: Object) -> list[Mapping[str, Any]]:
    addresses = [entry["ip"] for entry in pod["status"]["podIPs"] if (":" in entry["ip"]) == (family == "IPv6")]
    if not addresses:
        return []
    leaving = bool(pod["metadata"].get("deletionTimestamp"))
    ready = is_ready(pod)
    shown = ready or bool(service["spec"].get("publishNotReadyAddresses"))
    meta = pod["metadata"]
    return [
        {
            "addresses": addresses,
            "conditions": {"ready": shown, "serving": ready, "terminating": leaving},
            "nodeName": pod["spec"]["nodeName"],
            "targetRef": {"kind": "Pod", "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
        }
    ]


def _port(port: Mapping[str, Any], pods: list[Object]) -> Mapping[str, Any]:
    target = port.get("targetPort", port["port"])
    numbers = [port_number(container, target) for pod in pods for container in pod["spec"]["containers"]]
    number = next((number for number in numbers if number), port["port"])
    return {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}
