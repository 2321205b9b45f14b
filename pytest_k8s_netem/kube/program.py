"""The controller's program: what runs in the Deployment, ``python3 -m pytest_k8s_netem.kube.program``."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from pytest_k8s_netem.api.connection import Connection
from pytest_k8s_netem.api.kubernetes import KubernetesApi
from pytest_k8s_netem.controller.evidence_server import EvidenceServer
from pytest_k8s_netem.controller.holders import Holders
from pytest_k8s_netem.controller.leadership import Leadership
from pytest_k8s_netem.controller.resting import AFTER
from pytest_k8s_netem.controller.runtime import Runtime
from pytest_k8s_netem.controller.traffic import TrafficController
from pytest_k8s_netem.errors import ApiError, ClusterError
from pytest_k8s_netem.kube import sidecar
from pytest_k8s_netem.kube.access import Access
from pytest_k8s_netem.kube.census import Census
from pytest_k8s_netem.kube.channels import ExecChannels
from pytest_k8s_netem.kube.ephemeral import EphemeralAgents
from pytest_k8s_netem.kube.gate import Gatekeeper
from pytest_k8s_netem.kube.install.names import LEADER, NAMESPACE, NEVER, PORT, WITNESS, service_names
from pytest_k8s_netem.kube.install.rights import closed
from pytest_k8s_netem.kube.rotation import Rotation
from pytest_k8s_netem.kube.sockets import Sockets
from pytest_k8s_netem.kube.webhook import WebhookServer
from pytest_k8s_netem.resolve.view import View
from pytest_k8s_netem.run.identity import INJECT, INJECTED
from pytest_k8s_netem.run.retry import backoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_k8s_netem.run.events import Event

IDENTITY = "cluster"
"""Who this controller is towards agents, whichever process acts for it."""
AGENT_IMAGE, POD, SERVER = "NETEM_AGENT_IMAGE", "NETEM_POD", "KUBERNETES_SERVICE_HOST"
"""Environment: the agent's image as the nodes know it; this pod's name; the API server's address as pods see it."""
VIEW = View(injects=True, system=NEVER, opted_in={INJECT: INJECTED})
"""What of the cluster it touches."""
RELEASE_WITHIN = 2.0
"""Seconds, at the end, to let the next one lead at once."""
ANEW = 75
"""What :func:`main` returns when another one leads, or nobody could be told that this one does. Agents wait for a lease
at most, but a kubelet starts a container that ends again and again only after minutes."""

_log = logging.getLogger("netem")


class Deposed(ClusterError):
    """This process leads no more."""


class Program:
    """Webhooks, which every process serves, and the controller, which one of them is."""

    def __init__(self, api: KubernetesApi, environ: Mapping[str, str]) -> None:
        self._api = api
        self._image, self._spared = environ[AGENT_IMAGE], [environ[SERVER]] if environ.get(SERVER) else []
        self._rotation = Rotation(api, NAMESPACE, service_names())
        self._sidecars = False
        self._leadership = Leadership(api, NAMESPACE, LEADER, environ[POD])

    async def run(self) -> None:
        """Serve and act.

        :raises NetemError: when it can go on no more; whoever started it is to start it anew.
        """
        self._sidecars = await self._version() >= sidecar.OLDEST
        access = Access(self._api)
        webhooks = WebhookServer(
            self._image if self._sidecars else "", access.namespace, ready=lambda: self._rotation.unready
        )
        await webhooks.start(None, PORT, self._rotation.tls)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._rotation.run())
            group.create_task(self._lead())

    async def _version(self) -> tuple[int, ...]:
        """The API server's, however long that takes: a process that ended would be started ever more slowly."""
        for failures in itertools.count(1):
            try:
                return await asyncio.to_thread(lambda: self._api.connection().version())
            except ApiError as error:
                _log.warning("the API server is out of reach: %s", error)
            await asyncio.sleep(backoff(failures, most=2.0))
        raise AssertionError("counting ends")

    async def release(self) -> None:
        """Let another one lead; to be called when this one acts no more."""
        with suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_WITHIN):
                await self._leadership.release()

    async def _lead(self) -> None:
        epoch = await self._leadership.acquire()
        _log.info("leads, epoch %d", epoch)
        loop = asyncio.get_running_loop()
        acting, holding = loop.create_task(self._act(epoch)), loop.create_task(self._leadership.hold())
        try:
            await asyncio.wait([acting, holding], return_when=asyncio.FIRST_COMPLETED)
        finally:
            acting.cancel()
            holding.cancel()
            await asyncio.wait([acting, holding], timeout=RELEASE_WITHIN)  # ending watches would take a minute
        why = acting.exception() if acting.done() and not acting.cancelled() else None
        if why is not None:
            raise ClusterError("acts no more") from why
        raise Deposed("leads no more")

    async def _act(self, epoch: int) -> None:
        """Be the controller, until cancelled."""
        runtime, sockets = Runtime(self._api), Sockets(self._api.connection)
        agents = EphemeralAgents(runtime, self._image)
        channels = ExecChannels(sockets, agents, closed)
        controller = TrafficController(
            runtime,
            channels,
            identity=IDENTITY,
            epoch=epoch,
            apiserver=self._spared,
            view=VIEW,
            emit=_tell,
            resting=AFTER,
        )
        gates, holders = Gatekeeper(runtime, sockets, agents, controller), Holders(runtime)
        evidence = EvidenceServer(controller, Path(WITNESS))
        census = Census(runtime) if self._sidecars else None
        await runtime.start()
        await evidence.start()
        try:
            await asyncio.Event().wait()
        finally:
            if census is not None:
                census.stop()
            await asyncio.gather(runtime.stop(), gates.stop(), holders.stop(), evidence.stop())


def _tell(event: Event) -> None:
    _log.info("%s", event)


async def main(environ: Mapping[str, str] = os.environ) -> int:
    """Run until SIGTERM, which heals nothing: agents keep their plans for the next controller, while their lease lasts.

    :returns: an exit status; :data:`ANEW` = start from the beginning, in this process.
    :raises NetemError: if it cannot begin.
    """
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    program = Program(KubernetesApi(Connection.in_cluster), environ)
    running, told = loop.create_task(program.run()), loop.create_task(ended.wait())
    await asyncio.wait([running, told], return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        error = running.exception()
        _log.error("ended", exc_info=error)
        return ANEW if isinstance(error, BaseExceptionGroup) and error.subgroup(Deposed) else 1
    running.cancel()
    await asyncio.wait([running], timeout=RELEASE_WITHIN)
    await program.release()
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    status = asyncio.new_event_loop().run_until_complete(main())
    logging.shutdown()
    sys.stderr.flush()
    if status == ANEW:
        os.execv(sys.executable, sys.orig_argv)
    os._exit(status)  # ending sessions one by one would have agents heal, and ending watches would take a minute
