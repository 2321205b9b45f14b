"""Two stores as one: some kinds live here, all others in the cluster."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection

    from pytest_k8s_netem.api.protocol import Api, Change, Kind, Listing, Object


class SplitApi:
    """Implements :class:`pytest_k8s_netem.api.protocol.Api`, for a cluster that has not our kinds.

    :param own: kinds that ``here`` keeps; ``there`` is asked for the others.
    """

    def __init__(self, here: Api, there: Api, own: Collection[Kind]) -> None:
        self._here, self._there, self._own = here, there, frozenset(own)

    def _of(self, kind: Kind) -> Api:
        return self._here if kind in self._own else self._there

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object:
        """See :meth:`Api.get`."""
        return await self._of(kind).get(kind, name, namespace)

    async def list(self, kind: Kind, namespace: str | None = None, selector: str = "") -> Listing:
        """See :meth:`Api.list`."""
        return await self._of(kind).list(kind, namespace, selector)

    def watch(self, kind: Kind, resource_version: str, namespace: str | None = None) -> AsyncGenerator[Change, None]:
        """See :meth:`Api.watch`."""
        return self._of(kind).watch(kind, resource_version, namespace)

    async def create(self, kind: Kind, obj: Object, namespace: str | None = None, *, dry_run: bool = False) -> Object:
        """See :meth:`Api.create`."""
        return await self._of(kind).create(kind, obj, namespace, dry_run=dry_run)

    async def replace(self, kind: Kind, obj: Object, subresource: str = "") -> Object:
        """See :meth:`Api.replace`."""
        return await self._of(kind).replace(kind, obj, subresource)

    async def patch(
        self, kind: Kind, name: str, patch: Object, namespace: str | None = None, subresource: str = ""
    ) -> Object:
        """See :meth:`Api.patch`."""
        return await self._of(kind).patch(kind, name, patch, namespace, subresource)

    async def apply(self, kind: Kind, obj: Object, namespace: str | None = None) -> Object:
        """See :meth:`Api.apply`."""
        return await self._of(kind).apply(kind, obj, namespace)

    async def delete(self, kind: Kind, name: str, namespace: str | None = None, *, grace: int | None = None) -> None:
        """See :meth:`Api.delete`."""
        await self._of(kind).delete(kind, name, namespace, grace=grace)

    async def close(self) -> None:
        """See :meth:`Api.close`."""
        await self._here.close()
        await self._there.close()
