"""What an API server makes of an object, without the store: typing, keys, updates, owners, ends; pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from pytest_k8s_netem.api import metadata
from pytest_k8s_netem.api.mergepatch import copied
from pytest_k8s_netem.api.protocol import PODS, Kind, Object
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

WITHOUT_STATUS = frozenset({"Event", "Lease", "EndpointSlice"})
"""Kinds that have no status subresource here or there."""
DEFAULT_GRACE = 30
"""Seconds; default of a pod's terminationGracePeriodSeconds."""


class Key(NamedTuple):
    """Where an object lives; ``namespace`` is "" for cluster-scoped kinds."""

    kind: Kind
    namespace: str
    name: str


def typed(kind: Kind, obj: Object) -> Object:
    """A copy that says what it is.

    :raises ApiError: 400 BadRequest if it says that it is something else.
    """
    said = (obj.get("apiVersion", kind.api_version), obj.get("kind", kind.name))
    if said != (kind.api_version, kind.name):
        raise ApiError(400, "BadRequest", f"expected a {kind.name} of {kind.api_version}, got {said[1]} of {said[0]}")
    if not isinstance(obj.get("metadata", {}), dict):
        raise ApiError(400, "BadRequest", "metadata is not a mapping")
    body = {name: part for name, part in obj.items() if name not in ("apiVersion", "kind", "metadata")}
    said_fully: Object = copied(
        {"apiVersion": kind.api_version, "kind": kind.name, "metadata": obj.get("metadata", {}), **body}
    )
    return said_fully


def key_of(kind: Kind, name: str, namespace: str | None) -> Key:
    """Where an object lives.

    :raises ApiError: 400 if a namespace is needed and none is given.
    """
    if kind.namespaced and not namespace:
        raise ApiError(400, "BadRequest", f"{kind.plural} {name!r}: a namespace is needed")
    return Key(kind, namespace if kind.namespaced and namespace else "", name)


def one_namespace(kind: Kind, meta: Object, namespace: str | None) -> str | None:
    """The namespace that request and object agree on.

    :raises ApiError: 400 if they do not.
    """
    said = meta.get("namespace")
    if kind.namespaced and namespace and said and namespace != said:
        raise ApiError(400, "BadRequest", f"metadata.namespace {said!r} is not the namespace asked for, {namespace!r}")
    return namespace or said


def same_object(key: Key, old: Object, new: Object) -> None:
    """Refuse an update that was made from another version, or for another object of that name.

    :raises ApiError: 409 Conflict.
    """
    meta = new["metadata"]
    for field in ("resourceVersion", "uid"):
        if meta.get(field) and meta[field] != old["metadata"][field]:
            why = f"{key.kind.plural} {key.name!r}: the object has been modified; read it again ({field})"
            raise ApiError(409, "Conflict", why)


def no_new_finalizers(key: Key, old: Object, new: Object) -> None:
    """Refuse to hold longer what is being deleted.

    :raises ApiError: 422 Invalid.
    """
    if "deletionTimestamp" not in old["metadata"]:
        return
    added = set(new["metadata"].get("finalizers") or ()) - set(old["metadata"].get("finalizers") or ())
    if added:
        why = "cannot be added: the object is being deleted"
        problem = Problem("metadata.finalizers", ",".join(sorted(added)), why)
        raise ApiError(422, "Invalid", f"{key.kind.name} {key.name!r} is invalid", [problem])


def combined(kind: Kind, old: Object, new: Object, subresource: str) -> Object:
    """What of ``new`` an update through this door may change."""
    if subresource == "status":
        return {**copied(old), "status": new.get("status", {})}
    if subresource:
        raise ApiError(404, "NotFound", f"{kind.plural} have no subresource {subresource!r}")
    kept = {name: old["metadata"][name] for name in metadata.OWN if name in old["metadata"]}
    meta = {name: part for name, part in new["metadata"].items() if name not in metadata.OWN}
    meta.update(kept, resourceVersion=old["metadata"]["resourceVersion"])
    if kind.namespaced:
        meta["namespace"] = old["metadata"]["namespace"]
    obj = {**new, "metadata": meta}
    if kind.name not in WITHOUT_STATUS:
        obj.pop("status", None)
        obj.update({"status": copied(old["status"])} if "status" in old else {})
    return obj


def content(obj: Object) -> Object:
    """What a generation counts: all but metadata and status."""
    return {name: part for name, part in obj.items() if name not in ("metadata", "status")}


def owners(obj: Mapping[str, Any]) -> set[str]:
    """The uids of an object's owners."""
    return {ref["uid"] for ref in obj.get("metadata", {}).get("ownerReferences") or () if ref.get("uid")}


def ends(obj: Object) -> bool:
    """Whether nothing holds a deleted object any more."""
    meta = obj["metadata"]
    return "deletionTimestamp" in meta and not meta.get("finalizers") and not meta.get("deletionGracePeriodSeconds")


def grace_seconds(kind: Kind, obj: Object, grace: int | None) -> int:
    """Seconds a deletion leaves; only a pod that runs on a node has a kubelet to use them."""
    spec = obj.get("spec") or {}
    done = (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    if kind != PODS or not spec.get("nodeName") or done:
        return 0
    return int(spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE)) if grace is None else grace


def version_of(text: str) -> int:
    """A resource version as a number.

    :raises ApiError: 400 if it is none.
    """
    if not text.isdecimal():
        raise ApiError(400, "BadRequest", f"invalid resource version {text!r}")
    return int(text)


def where(namespace: str) -> str:
    """The end of a message that says where."""
    return f" in namespace {namespace!r}" if namespace else ""
