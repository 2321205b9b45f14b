"""The controller that is installed in the cluster: it acts, this process declares, waits, and asks what it has seen."""

from __future__ import annotations

import asyncio

from pytest_k8s_netem.api.protocol import LEASES, NAMESPACES, PODS, ROLEBINDINGS, TRAFFICPROFILES
from pytest_k8s_netem.api.rights import Right, missing
from pytest_k8s_netem.controller import waiting
from pytest_k8s_netem.controller.channel import ChannelClosed
from pytest_k8s_netem.controller.evidence_client import AGAIN_WITHIN, RemoteWitness
from pytest_k8s_netem.controller.leases import LEASE
from pytest_k8s_netem.controller.runlease import RunLease
from pytest_k8s_netem.controller.stream import StreamChannel
from pytest_k8s_netem.errors import ApiError, ImpairmentError, ProviderError
from pytest_k8s_netem.kube.exec import Exec, RelayStream
from pytest_k8s_netem.kube.image import PROGRAM
from pytest_k8s_netem.kube.install import optin
from pytest_k8s_netem.kube.install.names import CONTAINER, CONTROLLER, LEADER, NAMESPACE, PARTS, WITNESS
from pytest_k8s_netem.run.identity import RUN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_k8s_netem.api.protocol import Api, Object
    from pytest_k8s_netem.controller.witness import Witness
    from pytest_k8s_netem.docker.attachments import Attachments
    from pytest_k8s_netem.kube.sockets import Sockets
    from pytest_k8s_netem.run.identity import Identity

HEAL_WITHIN = LEASE + 5
"""Seconds for profiles that are left at the end: without a controller their agents heal by themselves in that time."""


class Installed:
    """Implements :class:`pytest_k8s_netem.cluster.control.Control`; ``netem install`` has been here.

    :param identity: of this process, whose Lease its profiles name.
    :param again_within: seconds in which a controller that cannot be asked is asked again.
    """

    def __init__(
        self, cluster: Api, sockets: Sockets, identity: Identity, *, again_within: float = AGAIN_WITHIN
    ) -> None:
        self.api: Api = cluster
        self.attachments: Attachments | None = None  # its controller is not on this machine
        self._witness = RemoteWitness(self._open, again_within)
        self._sockets, self._identity = sockets, identity
        self._lease = RunLease(cluster, NAMESPACE, f"run-{identity.name}", identity.labels())

    @property
    def witness(self) -> Witness:
        """Asked in the cluster."""
        return self._witness

    @property
    def lease(self) -> str:
        """The run's, in the controller's namespace."""
        return self._lease.key

    async def start(self) -> None:
        """See :meth:`Control.start`."""
        try:
            await self._lease.start()
        except ApiError as error:
            raise ProviderError(f"this run cannot have its Lease in namespace {NAMESPACE}: {error}") from None

    async def stop(self) -> None:
        """See :meth:`Control.stop`."""
        try:
            await asyncio.gather(*(self._end(name) for name in await self._left()))
        finally:
            await self._witness.close()
            await self._lease.stop()

    async def namespace_ready(self, name: str) -> None:
        """Let the controller in."""
        await optin.enable(self.api, name)

    @classmethod
    async def lacking(cls, cluster: Api, *, opens: bool) -> list[Right]:
        """What this takes and we may not.

        :param opens: whether namespaces are to be opened to the controller.
        :raises ApiError: if the API server does not say.
        """
        profiles = [Right(verb, TRAFFICPROFILES) for verb in ("get", "list", "watch", "create", "patch", "delete")]
        leases = [Right(verb, LEASES, "", NAMESPACE) for verb in ("get", "create", "patch", "delete")]
        pods = [Right("get", PODS, "", NAMESPACE), *(Right(v, PODS, "exec", NAMESPACE) for v in ("get", "create"))]
        opening = [Right("patch", NAMESPACES), *(Right(verb, ROLEBINDINGS) for verb in ("get", "create", "patch"))]
        return await missing(cluster, [*profiles, *leases, *pods, *(opening if opens else ())])

    async def parts(self) -> Sequence[Object]:
        """The controller's pods."""
        selector = ",".join(f"{key}={value}" for key, value in PARTS.items())
        return (await self.api.list(PODS, NAMESPACE, selector)).items

    async def _left(self) -> list[str]:
        """Profiles of this run that are still there: a test was interrupted."""
        listing = await self.api.list(TRAFFICPROFILES, selector=f"{RUN}={self._identity.name}")
        return [str(obj["metadata"]["name"]) for obj in listing.items]

    async def _end(self, name: str) -> None:
        try:
            await self.api.delete(TRAFFICPROFILES, name)
        except ApiError as error:
            if error.status != 404:
                raise
        await waiting.gone(self.api, name, HEAL_WITHIN)

    async def _open(self) -> StreamChannel:
        """A channel to the controller that leads.

        :raises ImpairmentError: if we may not. :raises ChannelClosed: if there is none now; another one comes.
        """
        who = "the controller in the cluster"
        try:
            lease = await self.api.get(LEASES, LEADER, NAMESPACE)
            pod = await self.api.get(PODS, str(lease["spec"].get("holderIdentity") or CONTROLLER), NAMESPACE)
            relay = [*PROGRAM, "relay", "--socket", WITNESS]
            running = await Exec.start(self._sockets, pod, relay, container=CONTAINER, stdin=True)
        except ApiError as error:
            if error.status == 403:
                rights = f"it needs create of pods/exec in namespace {NAMESPACE}"
                raise ImpairmentError(f"{who} cannot be asked: {error}; {rights}") from None
            raise ChannelClosed(f"{who} cannot be asked: {error}") from None
        return StreamChannel(RelayStream(running), who)
