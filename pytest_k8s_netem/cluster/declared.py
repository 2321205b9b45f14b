"""TrafficProfiles that a user applies: refused as the webhook refuses them, whether or not the cluster has one."""

from __future__ import annotations

from pytest_k8s_netem.api.mergepatch import merged
from pytest_k8s_netem.api.protocol import TRAFFICPROFILES
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.profile.parse import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Api, Object


async def check(api: Api, obj: Object) -> None:
    """See that the object can be meant: what it makes of the stored one, if there is one.

    :raises ConfigError: with every mistake, each with its path.
    """
    meta = obj["metadata"]
    old = await _stored(api, str(meta["name"])) if meta.get("name") else None
    new = merged(old, obj) if old is not None else obj
    if old is not None and new.get("spec") == old.get("spec"):
        return
    name = meta.get("name") or f"{meta['generateName']}0"
    parse({**new, "metadata": {**new["metadata"], "name": name}})


async def _stored(api: Api, name: str) -> Object | None:
    try:
        return await api.get(TRAFFICPROFILES, name)
    except ApiError as error:
        if error.status != 404:
            raise
        return None
