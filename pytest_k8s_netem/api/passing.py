"""A store that hands everything on to another, for those who change a part of that."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pytest_k8s_netem.api.protocol import Api, Change, Kind, Listing, Object


class PassingApi:
    """Implements :class:`pytest_k8s_netem.api.protocol.Api`.

    :param api: who is asked.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object:
        """See :meth:`Api.get`."""
        return await self._api.get(kind, name, namespace)

    async def list(self, kind: Kind, namespace: str | None = None, selector: str = "") -> Listing:
        """See :meth:`Api.list`."""
        return await self._api.list(kind, namespace, selector)

    def watch(self, kind: Kind, resource_version: str, namespace: str | None = None) -> AsyncGenerator[Change, None]:
        """See :meth:`Api.watch`."""
        return self._api.watch(kind, resource_version, namespace)

    async def create(self, kind: Kind, obj: Object, namespace: str | None = None, *, dry_run: bool = False) -> Object:
        """See :meth:`Api.create`."""
        return await self._api.create(kind, obj, namespace, dry_run=dry_run)

    async def replace(self, kind: Kind, obj: Object, subresource: str = "") -> Object:
        """See :meth:`Api.replace`."""
        return await self._api.replace(kind, obj, subresource)

    async def patch(
        self, kind: Kind, name: str, patch: Object, namespace: str | None = None, subresource: str = ""
    ) -> Object:
        """See :meth:`Api.patch`."""
        return await self._api.patch(kind, name, patch, namespace, subresource)

    async def apply(self, kind: Kind, obj: Object, namespace: str | None = None) -> Object:
        """See :meth:`Api.apply`."""
        return await self._api.apply(kind, obj, namespace)

    async def delete(self, kind: Kind, name: str, namespace: str | None = None, *, grace: int | None = None) -> None:
        """See :meth:`Api.delete`."""
        await self._api.delete(kind, name, namespace, grace=grace)

    async def close(self) -> None:
        """See :meth:`Api.close`."""
        await self._api.close()
