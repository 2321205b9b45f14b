"""A cluster as somebody sees it who may not read all of it."""

from __future__ import annotations

from pytest_k8s_netem.api.merging import merged
from pytest_k8s_netem.api.passing import PassingApi
from pytest_k8s_netem.api.protocol import PODS, Listing
from pytest_k8s_netem.resolve.objects import CONTAINERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from pytest_k8s_netem.api.protocol import Api, Change, Kind


class ConfinedApi(PassingApi):
    """Who asks for all namespaces gets those that may be read.

    :param scopes: by kind, the namespaces to look into when all are asked for; () = none, and nothing is asked of the
        server then. Kinds that are not named are read in all namespaces.
    """

    def __init__(self, api: Api, scopes: Mapping[Kind, tuple[str, ...]]) -> None:
        super().__init__(api)
        self._scopes = scopes

    async def list(self, kind: Kind, namespace: str | None = None, selector: str = "") -> Listing:
        """See :meth:`Api.list`; the version of a listing of several namespaces has a part for each."""
        found = [await self._api.list(kind, place, selector) for place in self._places(kind, namespace)]
        versions = (listing.resource_version for listing in found)
        return Listing([obj for listing in found for obj in listing.items], " ".join(versions))

    def watch(self, kind: Kind, resource_version: str, namespace: str | None = None) -> AsyncGenerator[Change, None]:
        """See :meth:`Api.watch`; where nothing may be read, nothing ever changes."""
        places = zip(resource_version.split(), self._places(kind, namespace), strict=True)
        streams = [self._api.watch(kind, version, place) for version, place in places]
        return streams[0] if len(streams) == 1 else merged(*streams)

    def _places(self, kind: Kind, namespace: str | None) -> Sequence[str | None]:
        if namespace or kind not in self._scopes:
            return (namespace,)
        beside = (CONTAINERS,) if kind == PODS else ()  # attached containers are of no cluster
        return (*self._scopes[kind], *beside)
