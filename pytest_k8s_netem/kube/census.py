"""Counts pods that should have come with the sidecar and did not: the webhook lets pass what it cannot answer."""

from __future__ import annotations

import asyncio
import logging

from pytest_k8s_netem.api.protocol import NAMESPACES, PODS
from pytest_k8s_netem.kube import sidecar
from pytest_k8s_netem.kube.install.names import NEVER
from pytest_k8s_netem.resolve.objects import finished, host_network, labels, namespace, pod_security, windows
from pytest_k8s_netem.run.identity import INJECT, INJECTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.controller.runtime import Runtime

EVERY = 2.0
"""Seconds between a change and the count, so that many changes are one."""
MOST = 10
"""Pods that a line of the log names."""

_log = logging.getLogger(__name__)


class Census:
    """Tells the log of pods without sidecar in namespaces that have opted in.

    Some of them are older than the opt-in, others were made while no webhook answered. Either sort is impaired by an
    ephemeral container, but not from its first packet on.

    :ivar without: their keys, when they were last counted.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.without: frozenset[str] = frozenset()
        self._pods, self._namespaces = runtime.informer(PODS), runtime.informer(NAMESPACES)
        self._next: asyncio.TimerHandle | None = None
        for informer in (self._pods, self._namespaces):
            informer.subscribe(self._changed)

    def stop(self) -> None:
        """Count no more."""
        if self._next is not None:
            self._next.cancel()

    def count(self) -> None:
        """Count now."""
        self._next = None
        before, pods = self.without, self._pods.objects
        self.without = frozenset(key for key, pod in pods.items() if self._expected(namespace(key)) and _lacks(pod))
        if new := sorted(self.without - before):
            names = ", ".join(new[:MOST]) + (f" and {len(new) - MOST} more" if len(new) > MOST else "")
            _log.warning("pods without sidecar in enabled namespaces: %d; new: %s", len(self.without), names)

    def _changed(self, _key: str, _old: Object | None, _new: Object | None) -> None:
        if self._next is None:
            self._next = asyncio.get_running_loop().call_later(EVERY, self.count)

    def _expected(self, name: str) -> bool:
        told = labels(self._namespaces.objects.get(name, {}))
        return told.get(INJECT) == INJECTED and name not in NEVER and not pod_security(told)


def _lacks(pod: Object) -> bool:
    return not (sidecar.has(pod) or finished(pod) or host_network(pod) or windows(pod, {}))
