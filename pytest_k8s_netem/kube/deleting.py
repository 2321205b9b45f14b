"""Deleting what may be gone already, and letting profiles go that nobody is left to heal."""

from __future__ import annotations

from pytest_k8s_netem.api.protocol import TRAFFICPROFILES
from pytest_k8s_netem.controller.profiles import FINALIZER
from pytest_k8s_netem.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Api, Kind, Object


async def found(api: Api, kind: Kind, name: str, namespace: str | None = None) -> Object | None:
    """The object; None = there is none.

    :raises ApiError: if the API server refuses.
    """
    try:
        return await api.get(kind, name, namespace)
    except ApiError as error:
        if error.status != 404:
            raise
        return None


async def deleted(api: Api, kind: Kind, obj: Object) -> bool:
    """Delete an object; whether it was there.

    :raises ApiError: if the API server refuses.
    """
    try:
        await api.delete(kind, obj["metadata"]["name"], obj["metadata"].get("namespace"))
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return True


async def released(api: Api, profile: Object) -> None:
    """Take our finalizer off; others' are not ours to take.

    :raises ApiError: if the API server refuses.
    """
    rest = [name for name in profile["metadata"].get("finalizers") or () if name != FINALIZER]
    try:
        await api.patch(TRAFFICPROFILES, profile["metadata"]["name"], {"metadata": {"finalizers": rest}})
    except ApiError as error:
        if error.status != 404:
            raise
