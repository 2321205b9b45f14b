"""A real API server for a test module: one event loop on a thread of its own, as in a run."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_k8s_netem.api.kubernetes import KubernetesApi
from pytest_k8s_netem.cluster.controlplane import ControlPlane
from pytest_k8s_netem.run.portal import Portal


class Lab:
    """A control plane and the loop that owns it."""

    def __init__(self, portal: Portal, directory: Path) -> None:
        self._portal = portal
        self.plane = ControlPlane(directory)

    @property
    def api(self) -> KubernetesApi:
        return self.plane.api

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._portal.call(work, 60)


@contextmanager
def control_plane(directory: Path) -> Iterator[Lab]:
    portal = Portal()
    lab = Lab(portal, directory)
    try:
        lab.call(lab.plane.start())
        yield lab
    finally:
        lab.call(lab.plane.stop())
        portal.stop()
