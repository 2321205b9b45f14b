"""What goes when its owners have gone: the part of a controller manager that a bare API server lacks."""

from __future__ import annotations

from pytest_k8s_netem.api.objects import owners
from pytest_k8s_netem.api.protocol import (
    DEPLOYMENTS,
    ENDPOINTSLICES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICASETS,
    SERVICES,
    TRAFFICPROFILES,
)
from pytest_k8s_netem.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from pytest_k8s_netem.api.protocol import Kind, Object
    from pytest_k8s_netem.controller.runtime import Runtime

KINDS = (PODS, REPLICASETS, DEPLOYMENTS, SERVICES, ENDPOINTSLICES, NODES, NAMESPACES, TRAFFICPROFILES)
"""What may own, and be owned, here."""
_BY_NAME = {(kind.api_version, kind.name): kind for kind in KINDS}
_OWNERS = "owners"


class Collector:
    """Deletes objects all of whose owners are gone."""

    def __init__(self, runtime: Runtime) -> None:
        self._api = runtime.api
        self._informers = {kind: runtime.informer(kind) for kind in KINDS}
        self._controller = runtime.controller("collector", self._reconcile, workers=4)
        for kind, informer in self._informers.items():
            informer.index(_OWNERS, owners)
            informer.subscribe(self._changed(kind))

    def _changed(self, kind: Kind) -> Callable[[str, Object | None, Object | None], None]:
        def changed(key: str, old: Object | None, new: Object | None) -> None:
            if new is None and old is not None:
                for dependent in self._dependents(old["metadata"]["uid"]):
                    self._controller.queue.add(dependent)
            elif new is not None and owners(new):
                self._controller.queue.add(f"{kind.plural} {key}")

        return changed

    def _dependents(self, uid: str) -> Iterator[str]:
        for kind, informer in self._informers.items():
            yield from (f"{kind.plural} {key}" for key in informer.indexed(_OWNERS, uid))

    async def _reconcile(self, place: str) -> None:
        plural, _, key = place.partition(" ")
        kind = next(kind for kind in KINDS if kind.plural == plural)
        obj = self._informers[kind].objects.get(key)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return
        meta = obj["metadata"]
        references = meta.get("ownerReferences") or ()
        if references and not [each for each in references if await self._lives(each, meta.get("namespace"))]:
            await self._api.delete(kind, meta["name"], meta.get("namespace"))

    async def _lives(self, reference: Mapping[str, Any], namespace: str | None) -> bool:
        """Asked of the server: an informer may not have seen a new owner yet."""
        kind = _BY_NAME.get((reference["apiVersion"], reference["kind"]))
        if kind is None:
            return True  # nobody here can say that it does not
        try:
            owner = await self._api.get(kind, reference["name"], namespace if kind.namespaced else None)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return bool(owner["metadata"]["uid"] == reference["uid"])
