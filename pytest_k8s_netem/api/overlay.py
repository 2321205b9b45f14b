"""One namespace of one kind from a store of this process, in front of a cluster that knows nothing of it."""

from __future__ import annotations

from pytest_k8s_netem.api.merging import merged
from pytest_k8s_netem.api.protocol import Listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pytest_k8s_netem.api.protocol import Api, Change, Kind, Object

JOINT = "~"
"""Between the two stores' versions in one of a listing of both."""


class OverlayApi:
    """Implements :class:`pytest_k8s_netem.api.protocol.Api`.

    :param here: has the objects of that kind in that namespace; ``there`` is asked for all others.
    """

    def __init__(self, here: Api, there: Api, kind: Kind, namespace: str) -> None:
        self._here, self._there = here, there
        self._kind, self._namespace = kind, namespace

    def _of(self, kind: Kind, namespace: str | None) -> Api:
        return self._here if kind == self._kind and namespace == self._namespace else self._there

    def _both(self, kind: Kind, namespace: str | None) -> bool:
        return kind == self._kind and namespace is None

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object:
        """See :meth:`Api.get`."""
        return await self._of(kind, namespace).get(kind, name, namespace)

    async def list(self, kind: Kind, namespace: str | None = None, selector: str = "") -> Listing:
        """See :meth:`Api.list`."""
        if not self._both(kind, namespace):
            return await self._of(kind, namespace).list(kind, namespace, selector)
        there = await self._there.list(kind, None, selector)
        here = await self._here.list(kind, self._namespace, selector)
        versions = f"{there.resource_version}{JOINT}{here.resource_version}"
        return Listing([*there.items, *here.items], versions)

    def watch(self, kind: Kind, resource_version: str, namespace: str | None = None) -> AsyncGenerator[Change, None]:
        """See :meth:`Api.watch`; one of both ends with the first of them that ends."""
        if not self._both(kind, namespace):
            return self._of(kind, namespace).watch(kind, resource_version, namespace)
        there, _, here = resource_version.partition(JOINT)
        return merged(self._there.watch(kind, there), self._here.watch(kind, here, self._namespace))

    async def create(self, kind: Kind, obj: Object, namespace: str | None = None, *, dry_run: bool = False) -> Object:
        """See :meth:`Api.create`."""
        return await self._of(kind, _where(obj, namespace)).create(kind, obj, namespace, dry_run=dry_run)

    async def replace(self, kind: Kind, obj: Object, subresource: str = "") -> Object:
        """See :meth:`Api.replace`."""
        return await self._of(kind, _where(obj, None)).replace(kind, obj, subresource)

    async def patch(
        self, kind: Kind, name: str, patch: Object, namespace: str | None = None, subresource: str = ""
    ) -> Object:
        """See :meth:`Api.patch`."""
        return await self._of(kind, namespace).patch(kind, name, patch, namespace, subresource)

    async def apply(self, kind: Kind, obj: Object, namespace: str | None = None) -> Object:
        """See :meth:`Api.apply`."""
        return await self._of(kind, _where(obj, namespace)).apply(kind, obj, namespace)

    async def delete(self, kind: Kind, name: str, namespace: str | None = None, *, grace: int | None = None) -> None:
        """See :meth:`Api.delete`."""
        await self._of(kind, namespace).delete(kind, name, namespace, grace=grace)

    async def close(self) -> None:
        """See :meth:`Api.close`."""
        await self._here.close()
        await self._there.close()


def _where(obj: Object, namespace: str | None) -> str | None:
    return namespace or (obj.get("metadata") or {}).get("namespace")
