"""Provider ``apiserver``: the embedded cluster's nodes and pods on a real Kubernetes API server; no Docker."""

from __future__ import annotations

from pytest_k8s_netem.api.mergepatch import copied
from pytest_k8s_netem.cluster.controlplane import ControlPlane
from pytest_k8s_netem.cluster.local import LocalProvider
from pytest_k8s_netem.kube.definition import define
from pytest_k8s_netem.local.collector import Collector
from pytest_k8s_netem.local.namespaces import Namespaces
from pytest_k8s_netem.local.podspec import DEFAULT_GRACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.cluster.session import Choices
    from pytest_k8s_netem.run.events import EventLog


class ApiServerProvider(LocalProvider):
    """The local provider whose objects are in a real API server; scheduler, kubelet and controllers are ours.

    :ivar kubeconfig: for ``kubectl`` while the run lasts.
    """

    name = "apiserver"

    def __init__(self, choices: Choices, directory: Path, events: EventLog) -> None:
        self._plane = ControlPlane(directory / "control-plane")
        self.kubeconfig = self._plane.kubeconfig
        super().__init__(choices, directory, events, self._plane.api)
        self._janitors = (Collector(self._runtime), Namespaces(self._runtime))

    async def start(self) -> None:
        """API server, definition of TrafficProfiles, then what the local provider starts."""
        await self._plane.start()
        await define(self.api)
        await super().start()

    async def stop(self) -> None:
        """All at once: nothing of it outlives the run."""
        try:
            await super().stop()
        finally:
            await self._plane.stop()

    def lost(self) -> str:
        """The node host, etcd or the API server has ended."""
        return super().lost() or self._plane.lost()

    def check(self, manifest: Object) -> Object:
        """What the embedded cluster can honour, said so that the API server's defaults do not say otherwise."""
        return _completed(super().check(manifest))


def _completed(manifest: Object) -> Object:
    spec: Any = copied(manifest.get("spec") or {})
    if manifest["kind"] == "Pod":
        spec.setdefault("terminationGracePeriodSeconds", int(DEFAULT_GRACE))
    elif manifest["kind"] == "Deployment":
        spec["template"]["spec"].setdefault("terminationGracePeriodSeconds", int(DEFAULT_GRACE))
    elif manifest["kind"] == "Service":
        spec.setdefault("clusterIP", "None")  # names give the pods' own addresses here
    else:
        return manifest
    return {**manifest, "spec": spec}
