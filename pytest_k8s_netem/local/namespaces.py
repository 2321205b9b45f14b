"""What a namespace gets when it is made and loses before it goes, on an API server without a controller manager."""

from __future__ import annotations

import asyncio

from pytest_k8s_netem.api.protocol import (
    DEPLOYMENTS,
    ENDPOINTSLICES,
    EVENTS,
    LEASES,
    NAMESPACES,
    PODS,
    REPLICASETS,
    SERVICEACCOUNTS,
    SERVICES,
    Kind,
)
from pytest_k8s_netem.api.refusals import tolerated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.controller.runtime import Runtime

MAKERS = (DEPLOYMENTS, REPLICASETS)
"""Deleted first, since they would make anew what is deleted after them."""
CONTENTS = (
    PODS,
    SERVICES,
    ENDPOINTSLICES,
    LEASES,
    EVENTS,
    SERVICEACCOUNTS,
    Kind("v1", "ConfigMap", "configmaps"),
    Kind("v1", "Secret", "secrets"),
    Kind("rbac.authorization.k8s.io/v1", "Role", "roles"),
    Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
)
LOOK_AGAIN = 0.2
"""Seconds until what holds a deleted namespace (mostly a pod's grace) is looked at once more."""


class Namespaces:
    """Gives each namespace its default account, and lets each deleted one go once it is empty."""

    def __init__(self, runtime: Runtime) -> None:
        self._api = runtime.api
        self._namespaces = runtime.informer(NAMESPACES)
        self._controller = runtime.controller("namespaces", self._reconcile, workers=4)
        self._namespaces.subscribe(lambda key, *_: self._controller.queue.add(key))
        runtime.informer(PODS).subscribe(self._pod_changed)

    def _pod_changed(self, _: str, old: Object | None, new: Object | None) -> None:
        """The last pod's end is what most namespaces wait for."""
        if new is None and old is not None:
            self._controller.queue.add(old["metadata"]["namespace"])

    async def _reconcile(self, name: str) -> float | None:
        namespace = self._namespaces.objects.get(name)
        if namespace is None:
            return None
        if not namespace["metadata"].get("deletionTimestamp"):
            await self._furnish(name)
            return None
        if await self._emptied(name, MAKERS) and await self._emptied(name, CONTENTS):
            await self._release(namespace)
            return None
        return LOOK_AGAIN

    async def _furnish(self, name: str) -> None:
        with tolerated(403, 404, 409):  # it has one, or is on its way out
            await self._api.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, name)

    async def _emptied(self, namespace: str, kinds: tuple[Kind, ...]) -> bool:
        """Delete all objects of these kinds; whether there were none."""
        return all(await asyncio.gather(*(self._none_left(kind, namespace) for kind in kinds)))

    async def _none_left(self, kind: Kind, namespace: str) -> bool:
        items = (await self._api.list(kind, namespace)).items
        for meta in (item["metadata"] for item in items):
            if "deletionTimestamp" not in meta:
                with tolerated(404):
                    await self._api.delete(kind, meta["name"], namespace)
        return not items or not (await self._api.list(kind, namespace)).items

    async def _release(self, namespace: Object) -> None:
        with tolerated(404, 409):  # its change brings us back
            await self._api.replace(NAMESPACES, {**namespace, "spec": {"finalizers": []}}, "finalize")
