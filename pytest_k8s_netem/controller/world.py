"""Keeps the world that plans are resolved from, as the informers see it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from pytest_k8s_netem.api.protocol import (
    DEPLOYMENTS,
    ENDPOINTSLICES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICASETS,
    SERVICES,
    Object,
)
from pytest_k8s_netem.controller import moments
from pytest_k8s_netem.resolve.world import World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_k8s_netem.controller.runtime import Runtime

TABLES = {
    "pods": PODS,
    "namespaces": NAMESPACES,
    "services": SERVICES,
    "endpointslices": ENDPOINTSLICES,
    "deployments": DEPLOYMENTS,
    "replicasets": REPLICASETS,
    "nodes": NODES,
}


class WorldKeeper:
    """The world, and who waits for a pod to be seen in it.

    Of a pod whose agent has told its addresses, they are in the world before its status says them.

    :ivar running_since: by pod, unix time at which it was first seen to run, or that it says itself if it ran before.
    """

    def __init__(self, runtime: Runtime, wake: Callable[[], None], apiserver: Sequence[str] = ()) -> None:
        self.world = World(apiserver=tuple(apiserver))
        self.running_since: dict[str, float] = {}
        self._wake = wake
        self._awaited: dict[str, asyncio.Event] = {}
        self._told: dict[str, tuple[str, ...]] = {}
        self._pods = runtime.informer(PODS)
        self._pods.subscribe(self._pod_changed)
        for table, kind in TABLES.items():
            if kind is not PODS:
                informer = runtime.informer(kind)
                setattr(self.world, table, informer.objects)  # the same dict: always current, never copied
                informer.subscribe(self._changed)

    def pod(self, key: str) -> Object | None:
        """A pod as last seen."""
        found = self.world.pods.get(key)
        return dict(found) if found is not None else None

    async def seen(self, pod: Object) -> None:
        """Wait until the world has this very pod, with an address if it has one here."""
        meta = pod["metadata"]
        key = f"{meta['namespace']}/{meta['name']}"
        while not _is(self.world.pods.get(key), pod):
            await self._awaited.setdefault(key, asyncio.Event()).wait()

    def tell(self, pod: Object, addresses: Sequence[str]) -> None:
        """Take a pod's addresses from its agent, the first of each family, until its status says them."""
        key = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        seen = self._pods.objects.get(key)
        if addresses and seen is not None and _is(seen, pod):
            self._told[str(pod["metadata"]["uid"])] = tuple(addresses)
            self._pod_changed(key, seen, seen)

    def _changed(self, _key: str, _old: Object | None, _new: Object | None) -> None:
        self._wake()

    def _pod_changed(self, key: str, old: Object | None, new: Object | None) -> None:
        self._take(key, old, new)
        if new is None:
            self.running_since.pop(key, None)
        elif running(new):
            self.running_since.setdefault(key, (_started(new) if old is None else None) or time.time())
        if (event := self._awaited.pop(key, None)) is not None:
            event.set()
        self._wake()

    def _take(self, key: str, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or address(new)):
            self._told.pop(str(old["metadata"].get("uid")), None)
        if new is None:
            self.world.pods.pop(key, None)
        else:
            self.world.pods[key] = self._addressed(new)

    def _addressed(self, pod: Object) -> Object:
        told = self._told.get(str(pod["metadata"].get("uid")))
        if not told or address(pod):
            return pod
        said = {"podIP": told[0], "podIPs": [{"ip": one} for one in told]}
        return {**pod, "status": {**(pod.get("status") or {}), **said}}


def running(pod: Object) -> bool:
    """Whether its containers have been started."""
    return bool((pod.get("status") or {}).get("phase") == "Running")


def leaving(pod: Object) -> bool:
    """Whether it is being deleted: what it holds it keeps to its end, which may come at any moment."""
    return "deletionTimestamp" in pod["metadata"]


def address(pod: Object) -> str:
    """Its address; "" = it has no network yet."""
    return str((pod.get("status") or {}).get("podIP") or "")


def _started(pod: Object) -> float | None:
    """Unix time in whole seconds at which the first of its running containers was started; None = it does not say."""
    states = (entry.get("state") or {} for entry in (pod.get("status") or {}).get("containerStatuses") or ())
    times = [moments.unix((state.get("running") or {}).get("startedAt")) for state in states]
    return min((one for one in times if one is not None), default=None)


def _is(seen: object, pod: Object) -> bool:
    return (
        isinstance(seen, dict)
        and seen["metadata"].get("uid") == pod["metadata"].get("uid")
        and (bool(address(seen)) or not address(pod))
    )
