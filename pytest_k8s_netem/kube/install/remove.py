"""Takes an installation out of a cluster: what is impaired is healed first, and nothing stays."""

from __future__ import annotations

from pytest_k8s_netem.api.protocol import (
    DEPLOYMENTS,
    NAMESPACES,
    ROLEBINDINGS,
    TRAFFICPROFILES,
)
from pytest_k8s_netem.controller.leases import LEASE
from pytest_k8s_netem.controller.profiles import FINALIZER
from pytest_k8s_netem.errors import ApiError, TeardownError
from pytest_k8s_netem.kube.install.names import AGENTS, CONTROLLER, NAMESPACE, SHARED
from pytest_k8s_netem.kube.install.objects import objects
from pytest_k8s_netem.kube.install.optin import disable
from pytest_k8s_netem.run.identity import INJECT
from pytest_k8s_netem.run.retry import attempts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Api, Kind, Object

HEALED_WITHIN = LEASE + 5
"""Seconds for a controller to heal and let profiles go; after that their leases have run out."""
GONE_WITHIN = 120.0
"""Seconds for the namespace and all that is in it to be gone; 6 are usual."""


class _StillThere(Exception):
    """What is waited for is not gone."""


async def uninstall(api: Api) -> list[str]:
    """Delete profiles and wait until they are healed, then all that was installed: what was removed, in words.

    With no controller alive nobody can heal; agents do so by themselves when their lease runs out.

    :raises ApiError: if the API server refuses. :raises TeardownError: if something stays.
    """
    removed = [f"TrafficProfile {name}" for name in await healed(api)]
    selector = ",".join(f"{key}={value}" for key, value in SHARED.items())
    for namespace in (await api.list(NAMESPACES, selector=INJECT)).items:
        await disable(api, namespace["metadata"]["name"])
        removed.append(f"the opt-in of namespace {namespace['metadata']['name']}")
    for binding in (await api.list(ROLEBINDINGS, selector=selector)).items:
        if binding["metadata"]["name"] == AGENTS:
            await _delete(api, ROLEBINDINGS, binding)
    ours = [(kind, obj) for kind, obj in reversed(objects("", "")) if not obj["metadata"].get("namespace")]
    for kind, obj in ours:
        if await _delete(api, kind, obj):
            removed.append(f"{kind.name} {obj['metadata']['name']}")
    for kind, obj in ours:
        await _gone(api, kind, obj)
    return removed


async def healed(api: Api) -> list[str]:
    """Delete all profiles and wait until they are healed; with nobody to do that, only take our finalizer off.

    :returns: their names. :raises ApiError: if the API server refuses.
    """
    try:
        names = [obj["metadata"]["name"] for obj in (await api.list(TRAFFICPROFILES)).items]
    except ApiError as error:
        if error.status == 404:
            return []
        raise
    for name in names:
        await _deleted(api, name)
    if await _alive(api):
        try:
            async for attempt in attempts(HEALED_WITHIN, _StillThere, most=0.2):
                with attempt:
                    if (await api.list(TRAFFICPROFILES)).items:
                        raise _StillThere
        except _StillThere:
            pass
    for obj in (await api.list(TRAFFICPROFILES)).items:
        await _released(api, obj)
    return names


async def _deleted(api: Api, name: str) -> None:
    try:
        await api.delete(TRAFFICPROFILES, name)
    except ApiError as error:
        if error.status != 404:
            raise


async def _alive(api: Api) -> bool:
    """Whether a controller runs."""
    try:
        found = await api.get(DEPLOYMENTS, CONTROLLER, NAMESPACE)
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return bool((found.get("status") or {}).get("availableReplicas"))


async def _released(api: Api, profile: Object) -> None:
    """Take our finalizer off; others' are not ours to take."""
    rest = [name for name in profile["metadata"].get("finalizers") or () if name != FINALIZER]
    try:
        await api.patch(TRAFFICPROFILES, profile["metadata"]["name"], {"metadata": {"finalizers": rest}})
    except ApiError as error:
        if error.status != 404:
            raise


async def _delete(api: Api, kind: Kind, obj: Object) -> bool:
    """Whether it was there."""
    try:
        await api.delete(kind, obj["metadata"]["name"], obj["metadata"].get("namespace"))
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return True


async def _gone(api: Api, kind: Kind, obj: Object) -> None:
    name = obj["metadata"]["name"]
    try:
        async for attempt in attempts(GONE_WITHIN, _StillThere, most=0.5):
            with attempt:
                try:
                    await api.get(kind, name)
                except ApiError as error:
                    if error.status == 404:
                        return
                    raise
                raise _StillThere
    except _StillThere:
        raise TeardownError(
            f"{kind.name} {name} is still there after {GONE_WITHIN:g} s; look: kubectl get {kind.plural} {name} -o yaml"
        ) from None
