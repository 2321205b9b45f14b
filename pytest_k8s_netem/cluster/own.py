"""A cluster in which a run knows the namespaces that it made, and deletes no others."""

from __future__ import annotations

from pytest_k8s_netem.api.passing import PassingApi
from pytest_k8s_netem.api.protocol import NAMESPACES
from pytest_k8s_netem.errors import ClusterError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_k8s_netem.api.protocol import Api, Kind, Object


class OwnNamespaces(PassingApi):
    """The cluster as its user's tests use it.

    :param changed: called with the run's own namespaces whenever these are others.
    """

    def __init__(self, api: Api, changed: Callable[[frozenset[str]], None]) -> None:
        super().__init__(api)
        self._made: frozenset[str] = frozenset()
        self._changed = changed

    async def create(self, kind: Kind, obj: Object, namespace: str | None = None, *, dry_run: bool = False) -> Object:
        """See :meth:`Api.create`."""
        made = await super().create(kind, obj, namespace, dry_run=dry_run)
        if kind == NAMESPACES and not dry_run:
            self._set(self._made | {str(made["metadata"]["name"])})
        return made

    async def delete(self, kind: Kind, name: str, namespace: str | None = None, *, grace: int | None = None) -> None:
        """See :meth:`Api.delete`.

        :raises ClusterError: for a namespace that was there before.
        """
        if kind == NAMESPACES and name not in self._made:
            raise ClusterError(f"namespace {name} is not deleted: this run did not make it")
        await super().delete(kind, name, namespace, grace=grace)
        if kind == NAMESPACES:
            self._set(self._made - {name})

    def _set(self, made: frozenset[str]) -> None:
        self._made = made
        self._changed(made)
