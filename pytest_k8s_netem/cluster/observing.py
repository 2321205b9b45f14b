"""What is impaired now, asked from outside: in the runs of this machine, or in a cluster with a controller."""

from __future__ import annotations

import asyncio
import socket

from pytest_k8s_netem.api.connection import Connection
from pytest_k8s_netem.api.kubernetes import KubernetesApi
from pytest_k8s_netem.api.protocol import TRAFFICPROFILES
from pytest_k8s_netem.cluster.installed import Installed
from pytest_k8s_netem.cluster.looking import profile_seen
from pytest_k8s_netem.controller.evidence_client import RemoteWitness
from pytest_k8s_netem.controller.stream import StreamChannel
from pytest_k8s_netem.errors import ApiError, ClusterError, ImpairmentError, NetemError
from pytest_k8s_netem.kube.sockets import Sockets
from pytest_k8s_netem.run.directory import WITNESS, living_directories
from pytest_k8s_netem.run.identity import Identity
from pytest_k8s_netem.run.snapshot import Observation, ProfileSeen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.controller.witness import Witness

ANSWER_WITHIN = 5.0
"""Seconds for a run's answer; one that is stopped in a debugger answers too, one that hangs does not."""
AT_ONCE = 16
"""Profiles whose evidence is asked for at the same time."""


async def of_runs(base: Path | None = None) -> list[Observation]:
    """Of each run of this user on this machine, xdist workers one by one."""
    return list(await asyncio.gather(*(_of_run(path) for path in living_directories(base))))


async def of_cluster(kubeconfig: str | None, context: str | None) -> Observation:
    """Of the cluster that a kubeconfig names.

    :raises NetemError: if it cannot be asked, or knows no TrafficProfiles.
    """
    api = KubernetesApi(lambda: Connection.from_kubeconfig(kubeconfig, context))
    try:
        connection = await asyncio.to_thread(api.connection)
        where = f"cluster {connection.context}" if connection.context else f"cluster {connection.host}"
        try:
            listing = await api.list(TRAFFICPROFILES)
        except ApiError as error:
            if error.status != 404:
                raise
            raise ClusterError(f"{where} knows no TrafficProfiles: netem install") from None
        witness = Installed(api, Sockets(api.connection), Identity.of(), again_within=0).witness
        return Observation(where, await _all_seen(listing.items, witness))
    finally:
        await api.close()


async def _of_run(path: Path) -> Observation:
    async def connect() -> StreamChannel:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(str(path / WITNESS))
        except OSError as error:
            sock.close()
            raise ImpairmentError(f"it does not answer: {error.strerror or error}") from None
        return await StreamChannel.over(sock, f"run {path.name}")

    where = f"run {path.name}"
    if not (path / WITNESS).exists():
        return Observation(f"{where}, starting or ending")
    witness = RemoteWitness(connect, again_within=0)
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            state = await witness.state()
            return Observation(f"{where}, {state['about']}", await _all_seen(state["profiles"], witness))
    except TimeoutError:
        return Observation(where, problem=f"it does not answer within {ANSWER_WITHIN:g} s")
    except (NetemError, KeyError, TypeError) as error:
        return Observation(where, problem=str(error))
    finally:
        await witness.close()


async def _all_seen(objects: Sequence[Object], witness: Witness) -> tuple[ProfileSeen, ...]:
    room = asyncio.Semaphore(AT_ONCE)

    async def seen(obj: Object) -> ProfileSeen:
        async with room:
            try:
                return profile_seen(obj, await witness.evidence(str(obj["metadata"]["name"])))
            except NetemError as error:
                return profile_seen(obj, None, f"its pods were not read back: {error}")

    return tuple(await asyncio.gather(*(seen(obj) for obj in objects)))
