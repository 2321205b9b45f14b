"""A real API server behind :class:`pytest_k8s_netem.api.protocol.Api`: plain objects in, plain objects out."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import quote

from pytest_k8s_netem.api import unanswered
from pytest_k8s_netem.api.connection import APPLY_PATCH, MERGE_PATCH
from pytest_k8s_netem.api.objects import key_of, one_namespace, typed
from pytest_k8s_netem.api.protocol import Change, Kind, Listing, Object
from pytest_k8s_netem.api.refusals import UNANSWERED
from pytest_k8s_netem.api.watching import Watch
from pytest_k8s_netem.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from pytest_k8s_netem.api.connection import Connection, Stream

MANAGER = "pytest-k8s-netem"
"""Whose fields they are, in an object's metadata.managedFields."""
REQUESTS = 16
"""Requests that are under way at once; the others wait."""
WATCH_SECONDS = 60
"""After which the server ends a watch's stream, so that a dead connection is noticed soon."""
_LATE = 15.0


class KubernetesApi:
    """Implements :class:`pytest_k8s_netem.api.protocol.Api`; its watches belong to the loop that reads them.

    :param connect: makes the connection, in a worker thread, when the first request is made.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor(REQUESTS, thread_name_prefix="kubernetes")
        self._watches: set[Watch] = set()

    def connection(self) -> Connection:
        """The connection, made if there is none yet; blocks.

        :raises ProviderError: if it cannot be made.
        """
        with self._lock:
            if self._connection is None:
                self._connection = self._connect()
            return self._connection

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object:
        """See :meth:`Api.get`."""
        return await self._request("GET", _of(kind, name, namespace))

    async def list(self, kind: Kind, namespace: str | None = None, selector: str = "") -> Listing:
        """See :meth:`Api.list`."""
        found = await self._request("GET", _path(kind, namespace), {"labelSelector": selector} if selector else None)
        return Listing([_named(kind, item) for item in found["items"] or ()], found["metadata"]["resourceVersion"])

    async def watch(
        self, kind: Kind, resource_version: str, namespace: str | None = None
    ) -> AsyncGenerator[Change, None]:
        """See :meth:`Api.watch`; a server that cannot be reached ends it with an error, to be listed anew."""

        def opened(version: str) -> Stream:
            query = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_SECONDS)}
            query["resourceVersion"] = version
            return self.connection().stream(_path(kind, namespace), query, WATCH_SECONDS + _LATE)

        watch = Watch(opened, resource_version, kind.plural)
        self._watches.add(watch)
        try:
            while change := await watch.next():
                yield change
        finally:
            watch.stop()
            self._watches.discard(watch)

    async def create(self, kind: Kind, obj: Object, namespace: str | None = None, *, dry_run: bool = False) -> Object:
        """See :meth:`Api.create`."""
        new = typed(kind, obj)
        where = one_namespace(kind, new["metadata"], namespace)
        key = key_of(kind, str(new["metadata"].get("name", "")), where)
        query = {"dryRun": "All"} if dry_run else None
        post = partial(self._request, "POST", _path(kind, key.namespace), query, body=new)
        try:
            return await post()
        except ApiError as error:
            if error.reason != UNANSWERED or dry_run or not unanswered.recognised(new):
                raise
            return await unanswered.settled(new, partial(self.get, kind, key.name, key.namespace), post, error)

    async def replace(self, kind: Kind, obj: Object, subresource: str = "") -> Object:
        """See :meth:`Api.replace`."""
        new = typed(kind, obj)
        path = _of(kind, str(new["metadata"].get("name", "")), new["metadata"].get("namespace"), subresource)
        return await self._request("PUT", path, body=new)

    async def patch(
        self, kind: Kind, name: str, patch: Object, namespace: str | None = None, subresource: str = ""
    ) -> Object:
        """See :meth:`Api.patch`."""
        path = _of(kind, name, namespace, subresource)
        return await self._request("PATCH", path, body=patch, content_type=MERGE_PATCH)

    async def apply(self, kind: Kind, obj: Object, namespace: str | None = None) -> Object:
        """See :meth:`Api.apply`: the server knows which lists are merged, and by what."""
        new = typed(kind, obj)
        path = _of(kind, str(new["metadata"].get("name", "")), one_namespace(kind, new["metadata"], namespace))
        query = {"fieldManager": MANAGER, "force": "true"}
        return await self._request("PATCH", path, query, body=new, content_type=APPLY_PATCH)

    async def delete(self, kind: Kind, name: str, namespace: str | None = None, *, grace: int | None = None) -> None:
        """See :meth:`Api.delete`; what it owns goes in the background."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        await self._request("DELETE", _of(kind, name, namespace), body=options)

    async def close(self) -> None:
        """End all watches and connections."""
        for watch in [*self._watches]:
            watch.stop()
        self._workers.shutdown(wait=False, cancel_futures=True)
        if self._connection is not None:
            self._connection.close()

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        def work() -> Object:
            answer: Object = self.connection().request(method, path, query, body, content_type)
            return answer

        return await asyncio.get_running_loop().run_in_executor(self._workers, work)


def _of(kind: Kind, name: str, namespace: str | None, subresource: str = "") -> str:
    if not name:
        raise ApiError(400, "BadRequest", f"{kind.plural}: a name is needed")
    key = key_of(kind, name, namespace)
    return "/".join([_path(kind, key.namespace), quote(key.name, safe=""), *([subresource] if subresource else [])])


def _path(kind: Kind, namespace: str | None) -> str:
    """The collection's path: of a namespace, or of all for ""/None."""
    root = "/apis/" if "/" in kind.api_version else "/api/"
    within = f"/namespaces/{quote(namespace, safe='')}" if namespace and kind.namespaced else ""
    return f"{root}{kind.api_version}{within}/{kind.plural}"


def _named(kind: Kind, item: Object) -> Object:
    """An item of a list says what it is, which the list says once for all."""
    return {"apiVersion": kind.api_version, "kind": kind.name, **item}
