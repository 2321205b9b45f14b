"""An in-process store of objects that behaves as a Kubernetes API server does, for one asyncio loop."""

from __future__ import annotations

import builtins
from collections import defaultdict

from pytest_k8s_netem.api import metadata
from pytest_k8s_netem.api.history import Entry, History
from pytest_k8s_netem.api.labels import parse_selector
from pytest_k8s_netem.api.mergepatch import copied, merged
from pytest_k8s_netem.api.objects import (
    WITHOUT_STATUS,
    Key,
    combined,
    content,
    ends,
    grace_seconds,
    key_of,
    no_new_finalizers,
    one_namespace,
    owners,
    same_object,
    typed,
    version_of,
    where,
)
from pytest_k8s_netem.api.protocol import BINDINGS, NAMESPACES, PODS, Change, Kind, Listing, Object
from pytest_k8s_netem.errors import ApiError, NetemError
from pytest_k8s_netem.profile.rules import NAMESPACE_LABEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping

    Admit = Callable[[Object, Object | None], None]

FIRST_STATUS: dict[str, Object] = {
    "Pod": {"phase": "Pending"},
    "Namespace": {"phase": "Active"},
}
HISTORY = 4096
"""Changes of a kind that a watch can resume over."""


class MemoryApi:
    """Implements :class:`pytest_k8s_netem.api.protocol.Api`; all its methods belong to one event loop.

    :param admit: per kind, called with each object before it is stored and with the one that it replaces (None: new);
        it may fill in defaults, and refuses with any :class:`NetemError`, which becomes 422 Invalid.
    """

    def __init__(self, admit: Mapping[Kind, Admit] | None = None, history: int = HISTORY) -> None:
        self.admit = dict(admit or {})
        self._objects: dict[Kind, dict[tuple[str, str], Object]] = defaultdict(dict)
        self._histories: dict[Kind, History] = defaultdict(lambda: History(history))
        self._dependents: dict[str, set[Key]] = defaultdict(set)
        self._uids: set[str] = set()
        self._version = 0
        self._closed = False
        self._insert(NAMESPACES, "", {"metadata": {"name": "default"}})

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object:
        """See :meth:`Api.get`."""
        found: Object = copied(self._find(key_of(kind, name, namespace)))
        return found

    async def list(self, kind: Kind, namespace: str | None = None, selector: str = "") -> Listing:
        """See :meth:`Api.list`."""
        wanted = parse_selector(selector)
        items = [
            copied(obj)
            for (place, _), obj in sorted(self._objects[kind].items(), key=lambda item: item[0])
            if namespace in (None, place) and wanted.takes(obj["metadata"].get("labels") or {})
        ]
        return Listing(items, str(self._version))

    async def watch(
        self, kind: Kind, resource_version: str, namespace: str | None = None
    ) -> AsyncGenerator[Change, None]:
        """See :meth:`Api.watch`; version "" or "0" begins with an ADDED for each object that is there."""
        history = self._histories[kind]
        if resource_version in ("", "0"):
            version = self._version
            for obj in self._in(kind, namespace):
                yield Change("ADDED", copied(obj))
        else:
            version = version_of(resource_version)
        while not self._closed:
            for entry in history.after(version):
                version = entry.version
                if namespace in (None, entry.object["metadata"].get("namespace", "")):
                    yield Change(entry.type, copied(entry.object))
            if not self._closed:
                await history.changed(version)

    async def create(self, kind: Kind, obj: Object, namespace: str | None = None, *, dry_run: bool = False) -> Object:
        """See :meth:`Api.create`."""
        new = typed(kind, obj)
        meta = new["metadata"]
        if kind == BINDINGS:
            return self._bind(key_of(PODS, str(meta.get("name", "")), one_namespace(kind, meta, namespace)), new)
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = metadata.generated(str(meta["generateName"]))
        metadata.validate(kind, new)
        key = key_of(kind, meta["name"], one_namespace(kind, meta, namespace))
        self._enter(key)
        if dry_run:
            return self._out(self._made(kind, key.namespace, new))
        return self._out(self._insert(kind, key.namespace, new))

    async def replace(self, kind: Kind, obj: Object, subresource: str = "") -> Object:
        """See :meth:`Api.replace`."""
        new = typed(kind, obj)
        key = key_of(kind, str(new["metadata"].get("name", "")), new["metadata"].get("namespace"))
        return self._out(self._update(key, new, subresource))

    async def patch(
        self, kind: Kind, name: str, patch: Object, namespace: str | None = None, subresource: str = ""
    ) -> Object:
        """See :meth:`Api.patch`; a resourceVersion in it must be the current one (409)."""
        key = key_of(kind, name, namespace)
        old = self._find(key)
        new = typed(kind, merged(old, patch))
        return self._out(self._update(key, new, subresource))

    async def apply(self, kind: Kind, obj: Object, namespace: str | None = None) -> Object:
        """See :meth:`Api.apply`; lists are replaced: here nobody adds to one."""
        where = one_namespace(kind, obj["metadata"], namespace)
        key = key_of(kind, str(obj["metadata"].get("name", "")), where)
        if (key.namespace, key.name) not in self._objects[kind]:
            return await self.create(kind, obj, namespace)
        return await self.patch(kind, key.name, obj, where)

    async def delete(self, kind: Kind, name: str, namespace: str | None = None, *, grace: int | None = None) -> None:
        """See :meth:`Api.delete`; a pod on a node stays, marked, until its kubelet deletes it with grace 0."""
        self._delete(key_of(kind, name, namespace), grace)

    async def close(self) -> None:
        """End all watches."""
        self._closed = True
        for history in self._histories.values():
            history.wake()

    def _bind(self, key: Key, binding: Object) -> Object:
        """Put a pod on a node; 409 Conflict if it is on one."""
        pod = copied(self._find(key))
        if pod["spec"].get("nodeName"):
            raise ApiError(409, "Conflict", f"pod {key.name!r} is already assigned to node {pod['spec']['nodeName']!r}")
        pod["spec"]["nodeName"] = str(binding["target"]["name"])
        pod["metadata"]["generation"] += 1
        self._store(key, "MODIFIED", pod)
        return binding

    # Storing

    def _insert(self, kind: Kind, namespace: str, new: Object) -> Object:
        obj = self._made(kind, namespace, new)
        meta = obj["metadata"]
        key = Key(kind, namespace, meta["name"])
        stored = self._store(key, "ADDED", obj)
        self._uids.add(meta["uid"])
        if (mine := owners(obj)) and not mine & self._uids:  # as the garbage collector does: its owner is gone
            self._delete(key, None)
        return stored

    def _made(self, kind: Kind, namespace: str, new: Object) -> Object:
        """The object as it is stored when it is new."""
        obj = typed(kind, new)
        meta = obj["metadata"]
        metadata.stamp(obj)
        if kind.namespaced:
            meta["namespace"] = namespace
        if kind.name == "Namespace":
            meta["labels"] = {**(meta.get("labels") or {}), NAMESPACE_LABEL: meta["name"]}
        if kind.name not in (*WITHOUT_STATUS, "Node"):  # a node registers itself with its status
            obj.pop("status", None)
            if kind.name in FIRST_STATUS:
                obj["status"] = dict(FIRST_STATUS[kind.name])
        self._admitted(kind, obj, None)
        return obj

    def _update(self, key: Key, new: Object, subresource: str) -> Object:
        old = self._find(key)
        same_object(key, old, new)
        obj = combined(key.kind, old, new, subresource)
        metadata.validate(key.kind, obj)
        no_new_finalizers(key, old, obj)
        if obj == old:
            return old
        if not subresource:
            self._admitted(key.kind, obj, old)
        if content(obj) != content(old):
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        if ends(obj):
            return self._remove(key, obj)
        return self._store(key, "MODIFIED", obj)

    def _store(self, key: Key, change: str, obj: Object) -> Object:
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        before = self._objects[key.kind].get((key.namespace, key.name))
        for uid in owners(before or {}) - owners(obj):
            self._dependents[uid].discard(key)
        for uid in owners(obj):
            self._dependents[uid].add(key)
        self._objects[key.kind][key.namespace, key.name] = obj
        self._histories[key.kind].append(Entry(self._version, change, obj))
        return obj

    def _admitted(self, kind: Kind, obj: Object, old: Object | None) -> None:
        if hook := self.admit.get(kind):
            try:
                hook(obj, copied(old))
            except ApiError:
                raise
            except NetemError as error:
                why = f"{kind.name} {obj['metadata']['name']!r} is invalid"
                raise ApiError(422, "Invalid", why if error.problems else f"{why}: {error}", error.problems) from None

    # Removing

    def _delete(self, key: Key, grace: int | None) -> None:
        old = self._find(key)
        obj = copied(old)
        meta = obj["metadata"]
        seconds = grace_seconds(key.kind, old, grace)
        if "deletionTimestamp" not in meta:
            meta["generation"] = meta.get("generation", 0) + 1
            meta["deletionTimestamp"] = metadata.timestamp(seconds)
        elif seconds < meta.get("deletionGracePeriodSeconds", 0):
            meta["deletionTimestamp"] = metadata.timestamp(seconds)
        if key.kind == PODS:
            meta["deletionGracePeriodSeconds"] = min(seconds, meta.get("deletionGracePeriodSeconds", seconds))
        if key.kind == NAMESPACES:
            obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        if key.kind == NAMESPACES and any(self._inside(key.name)):
            if obj != old:
                self._store(key, "MODIFIED", obj)
            self._empty(key.name)
        elif ends(obj):
            self._remove(key, obj)
        elif obj != old:
            self._store(key, "MODIFIED", obj)

    def _remove(self, key: Key, obj: Object) -> Object:
        if key.kind == NAMESPACES and any(self._inside(key.name)):
            return self._store(key, "MODIFIED", obj)
        stored = self._store(key, "DELETED", obj)
        del self._objects[key.kind][key.namespace, key.name]
        for uid in owners(obj):
            self._dependents[uid].discard(key)
        self._uids.discard(obj["metadata"]["uid"])
        self._orphaned(obj["metadata"]["uid"])
        if key.namespace:
            self._emptied(key.namespace)
        return stored

    def _orphaned(self, uid: str) -> None:
        """Background cascade: dependents with no other owner alive go too."""
        for key in sorted(self._dependents.pop(uid, ())):
            obj = self._objects[key.kind].get((key.namespace, key.name))
            if obj is not None and not owners(obj) & self._uids:
                self._delete(key, None)

    def _inside(self, namespace: str) -> Iterator[Key]:
        for kind, objects in self._objects.items():
            if kind.namespaced:
                yield from (Key(kind, *place) for place in objects if place[0] == namespace)

    def _empty(self, namespace: str) -> None:
        for key in [*self._inside(namespace)]:
            if (key.namespace, key.name) in self._objects[key.kind]:
                self._delete(key, None)

    def _emptied(self, namespace: str) -> None:
        obj = self._objects[NAMESPACES].get(("", namespace))
        if (
            obj is not None
            and "deletionTimestamp" in obj["metadata"]
            and not any(self._inside(namespace))
            and ends(obj)
        ):
            self._remove(Key(NAMESPACES, "", namespace), copied(obj))

    # Finding

    def _find(self, key: Key) -> Object:
        try:
            return self._objects[key.kind][key.namespace, key.name]
        except KeyError:
            raise ApiError(404, "NotFound", f"{key.kind.plural} {key.name!r} not found{where(key.namespace)}") from None

    def _in(self, kind: Kind, namespace: str | None) -> builtins.list[Object]:
        return [obj for (place, _), obj in sorted(self._objects[kind].items()) if namespace in (None, place)]

    def _enter(self, key: Key) -> None:
        """Refuse what cannot be created at this place."""
        if key.kind.namespaced:
            namespace = self._find(Key(NAMESPACES, "", key.namespace))
            if "deletionTimestamp" in namespace["metadata"]:
                raise ApiError(403, "Forbidden", f"namespace {key.namespace!r} is being terminated")
        if (key.namespace, key.name) in self._objects[key.kind]:
            raise ApiError(409, "AlreadyExists", f"{key.kind.plural} {key.name!r} already exists{where(key.namespace)}")

    @staticmethod
    def _out(obj: Object) -> Object:
        shown: Object = copied(obj)
        return shown
