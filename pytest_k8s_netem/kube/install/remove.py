"""Takes an installation out of a cluster: what is impaired is healed first, and nothing stays."""

from __future__ import annotations

from contextlib import suppress

from pytest_k8s_netem.api.protocol import DEPLOYMENTS, LEASES, NAMESPACES, ROLEBINDINGS, TRAFFICPROFILES
from pytest_k8s_netem.controller.leases import LEASE
from pytest_k8s_netem.errors import ApiError, TeardownError
from pytest_k8s_netem.kube.deleting import deleted, found, released
from pytest_k8s_netem.kube.install.names import AGENTS, CONTROLLER, LEADER, NAMESPACE, SHARED
from pytest_k8s_netem.kube.install.objects import objects
from pytest_k8s_netem.kube.install.optin import disable
from pytest_k8s_netem.resolve.objects import labels
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
    removed += [f"the opt-in of namespace {name}" for name in await _opted_out(api)]
    ours = [*reversed(objects("", "")), (LEASES, {"metadata": {"name": LEADER, "namespace": NAMESPACE}})]
    gone = [(kind, obj) for kind, obj in ours if await _ours(api, kind) and await deleted(api, kind, obj)]
    for kind, obj in gone:
        await _gone(api, kind, obj)
    return [*removed, *(f"{kind.name} {obj['metadata']['name']}" for kind, obj in gone)]


async def healed(api: Api) -> list[str]:
    """Delete all profiles and wait until they are healed; with nobody to do that, only take our finalizer off.

    :returns: their names. :raises ApiError: if the API server refuses.
    """
    profiles = await _profiles(api)
    for obj in profiles:
        await deleted(api, TRAFFICPROFILES, obj)
    if profiles and await _alive(api):
        with suppress(_StillThere):
            async for attempt in attempts(HEALED_WITHIN, _StillThere, most=0.2):
                with attempt:
                    if await _profiles(api):
                        raise _StillThere
    for obj in await _profiles(api):
        await released(api, obj)
    return [str(obj["metadata"]["name"]) for obj in profiles]


async def _profiles(api: Api) -> list[Object]:
    try:
        return (await api.list(TRAFFICPROFILES)).items
    except ApiError as error:
        if error.status == 404:  # their definition is not there
            return []
        raise


async def _opted_out(api: Api) -> list[str]:
    """Take label and RoleBinding from every namespace; where only the RoleBinding is, that."""
    names = [str(obj["metadata"]["name"]) for obj in (await api.list(NAMESPACES, selector=INJECT)).items]
    for name in names:
        await disable(api, name)
    selector = ",".join(f"{key}={value}" for key, value in SHARED.items())
    for binding in (await api.list(ROLEBINDINGS, selector=selector)).items:
        if binding["metadata"]["name"] == AGENTS:
            await deleted(api, ROLEBINDINGS, binding)
    return names


async def _alive(api: Api) -> bool:
    """Whether a controller runs."""
    deployment = await found(api, DEPLOYMENTS, CONTROLLER, NAMESPACE)
    return bool(((deployment or {}).get("status") or {}).get("availableReplicas"))


async def _ours(api: Api, kind: Kind) -> bool:
    """Whether all of that kind is ours to delete: the namespace is, if it was not there before."""
    if kind != NAMESPACES:
        return True
    namespace = await found(api, NAMESPACES, NAMESPACE)
    return namespace is not None and labels(namespace).items() >= SHARED.items()


async def _gone(api: Api, kind: Kind, obj: Object) -> None:
    meta = obj["metadata"]
    try:
        async for attempt in attempts(GONE_WITHIN, _StillThere, most=0.5):
            with attempt:
                if await found(api, kind, meta["name"], meta.get("namespace")) is not None:
                    raise _StillThere
    except _StillThere:
        look = f"kubectl get {kind.plural} {meta['name']} -o yaml"
        raise TeardownError(
            f"{kind.name} {meta['name']} is still there after {GONE_WITHIN:g} s; look: {look}"
        ) from None
