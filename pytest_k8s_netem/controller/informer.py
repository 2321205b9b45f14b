"""A current copy of all objects of one kind, and those who want to know of each change."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import aclosing

from pytest_k8s_netem.api.protocol import Object
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.run.retry import backoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Api, Change, Kind

Handler = Callable[[str, Object | None, Object | None], None]
"""Called with key, object before, object now; None = was or is not there."""
Index = Callable[[Object], Iterable[str]]
"""Gives the values under which an object is to be found."""

SOUND = 10.0
"""Seconds after which a watch is one that works, though nothing may have changed."""

_log = logging.getLogger(__name__)


def key_of(obj: Object) -> str:
    """``namespace/name``, or ``name`` for what is cluster-scoped."""
    meta = obj["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


class Informer:
    """Lists, then watches; resumes where a watch ended, lists anew when it cannot (410).

    :ivar objects: by key, as last seen; never to be changed by those who read them.
    :ivar synced: set once the first listing is in.
    """

    def __init__(self, api: Api, kind: Kind, namespace: str | None = None) -> None:
        self.kind = kind
        self.objects: dict[str, Object] = {}
        self.synced = asyncio.Event()
        self._api = api
        self._namespace = namespace
        self._handlers: list[Handler] = []
        self._indexes: dict[str, Index] = {}
        self._indexed: dict[str, dict[str, set[str]]] = {}
        self._failures = 0  # in a row: a listing alone ends none, for the watch may be what is refused

    def subscribe(self, handler: Handler) -> None:
        """Tell ``handler`` of each change from now on, after :attr:`objects` has it; of what is there, at once."""
        self._handlers.append(handler)
        for key, obj in self.objects.items():
            handler(key, None, obj)

    def index(self, name: str, values: Index) -> None:
        """Keep an index; look up with :meth:`indexed`."""
        self._indexes[name] = values
        self._indexed[name] = defaultdict(set)
        for key, obj in self.objects.items():
            self._enter(name, key, obj)

    def indexed(self, name: str, value: str) -> frozenset[str]:
        """Keys of the objects that the index gives this value."""
        return frozenset(self._indexed[name].get(value, ()))

    async def run(self) -> None:
        """Follow the store until it is closed, or for ever, whatever fails."""
        while True:
            try:
                await self._follow(await self._list())
                return
            except Exception as error:
                self._failures += 1
                if isinstance(error, ApiError) and error.status == 410 and self._failures == 1:
                    continue  # it was away for too long
                _log.warning("%s: %s", self.kind.plural, error, exc_info=not isinstance(error, ApiError))
            await asyncio.sleep(backoff(self._failures))

    async def _list(self) -> str:
        listing = await self._api.list(self.kind, self._namespace)
        current = {key_of(obj): obj for obj in listing.items}
        for key in [key for key in self.objects if key not in current]:
            self._change(key, None)
        for key, obj in current.items():
            self._change(key, obj)
        self.synced.set()
        return listing.resource_version

    async def _follow(self, version: str) -> None:
        began = time.monotonic()
        try:
            async with aclosing(self._api.watch(self.kind, version, self._namespace)) as changes:
                async for change in changes:
                    self._failures = 0
                    self._take(change)
        finally:
            if time.monotonic() - began > SOUND:
                self._failures = 0

    def _take(self, change: Change) -> None:
        if change.type != "BOOKMARK":
            self._change(key_of(change.object), None if change.type == "DELETED" else change.object)

    def _change(self, key: str, new: Object | None) -> None:
        old = self.objects.get(key)
        if _version(old) == _version(new):
            return
        if old is not None and new is not None and old["metadata"].get("uid") != new["metadata"].get("uid"):
            self._change(key, None)  # deleted and made again between two listings
            old = None
        self._store(key, old, new)
        for handler in self._handlers:
            handler(key, old, new)

    def _store(self, key: str, old: Object | None, new: Object | None) -> None:
        if new is None:
            self.objects.pop(key, None)
        else:
            self.objects[key] = new
        for name, values in self._indexes.items():
            for value in values(old) if old else ():
                self._indexed[name][value].discard(key)
            if new is not None:
                self._enter(name, key, new)

    def _enter(self, name: str, key: str, obj: Object) -> None:
        for value in self._indexes[name](obj):
            self._indexed[name][value].add(key)


def _version(obj: Object | None) -> object:
    return obj["metadata"].get("resourceVersion") if obj else None
