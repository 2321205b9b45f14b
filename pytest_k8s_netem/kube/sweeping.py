"""Removes what dead runs left in a cluster: profiles, namespaces and Leases that carry a run's label."""

from __future__ import annotations

import time

from pytest_k8s_netem.api.protocol import LEASES, NAMESPACES, TRAFFICPROFILES
from pytest_k8s_netem.controller.leases import LEASE
from pytest_k8s_netem.controller.moments import unix
from pytest_k8s_netem.errors import ApiError, TeardownError
from pytest_k8s_netem.kube.deleting import deleted, found, released
from pytest_k8s_netem.kube.install.names import NAMESPACE
from pytest_k8s_netem.run.identity import OWNER, RUN, expired
from pytest_k8s_netem.run.retry import attempts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pytest_k8s_netem.api.protocol import Api, Kind, Object

SKEW = 30.0
"""Seconds by which clocks of this machine and of those that renew Leases may differ."""
HEALED_WITHIN = LEASE + 5
"""Seconds for a controller to heal a profile; where none lives, agents have healed it by themselves then."""


class _StillThere(Exception):
    """What is waited for is not gone."""


async def sweep(api: Api) -> AsyncIterator[str]:
    """Remove all of it, a line each; what a run that lives has made stays.

    :raises ApiError: if the API server refuses. :raises TeardownError: if a profile stays.
    """
    leases = await _listed(api, LEASES, NAMESPACE)
    runs = {_run(lease): not _over(lease) for lease in leases}
    for obj in await _listed(api, TRAFFICPROFILES):
        if _dead(obj, runs):
            await _healed(api, obj)
            yield f"TrafficProfile {_named(obj)}"
    for obj in await _listed(api, NAMESPACES):
        if _dead(obj, runs) and "deletionTimestamp" not in obj["metadata"]:
            await deleted(api, NAMESPACES, obj)
            yield f"Namespace {_named(obj)}"
    for lease in leases:
        if _over(lease):
            await deleted(api, LEASES, lease)
            yield f"Lease {_named(lease)}"


async def _listed(api: Api, kind: Kind, namespace: str | None = None) -> list[Object]:
    """Those that carry a run's label; none where the kind or the namespace does not exist."""
    try:
        return (await api.list(kind, namespace, RUN)).items
    except ApiError as error:
        if error.status != 404:
            raise
        return []


def _run(obj: Object) -> str:
    return str((obj["metadata"].get("labels") or {}).get(RUN, ""))


def _named(obj: Object) -> str:
    labels = obj["metadata"].get("labels") or {}
    return f"{obj['metadata']['name']} of run {labels.get(RUN)} ({labels.get(OWNER) or 'owner unknown'})"


def _dead(obj: Object, runs: dict[str, bool]) -> bool:
    """Whether its run is over: by the run's Lease; without one by its label, or because it names one that is gone.

    :param runs: by run, whether its Lease is renewed.
    """
    if (lives := runs.get(_run(obj))) is not None:
        return not lives
    return bool((obj.get("spec") or {}).get("lease")) or expired(obj["metadata"].get("labels") or {})


def _over(lease: Object) -> bool:
    spec = lease["spec"]
    renewed = unix(spec.get("renewTime"))
    return renewed is None or renewed + float(spec.get("leaseDurationSeconds") or LEASE) + SKEW < time.time()


async def _healed(api: Api, obj: Object) -> None:
    """Delete a profile and wait until it is healed; with nobody alive to do that, until its agents have."""
    name = obj["metadata"]["name"]
    await deleted(api, TRAFFICPROFILES, obj)
    try:
        async for attempt in attempts(HEALED_WITHIN, _StillThere, most=0.5):
            with attempt:
                if await found(api, TRAFFICPROFILES, name) is not None:
                    raise _StillThere
        return
    except _StillThere:
        left = await found(api, TRAFFICPROFILES, name)
    if left is not None:
        await released(api, left)
    if await found(api, TRAFFICPROFILES, name) is not None:
        held = ", ".join(left["metadata"].get("finalizers") or ()) if left is not None else ""
        raise TeardownError(f"TrafficProfile {name} stays: {held or 'it was made again'}")
