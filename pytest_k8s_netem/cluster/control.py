"""Where the controller of a real cluster runs: in this process, or in the cluster."""

from __future__ import annotations

from typing import Protocol

from pytest_k8s_netem.api.confined import ConfinedApi
from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import TRAFFICPROFILES
from pytest_k8s_netem.api.split import SplitApi
from pytest_k8s_netem.controller.runtime import Runtime
from pytest_k8s_netem.controller.traffic import TrafficController
from pytest_k8s_netem.kube.channels import ExecChannels
from pytest_k8s_netem.kube.ephemeral import EphemeralAgents
from pytest_k8s_netem.kube.gate import Gatekeeper
from pytest_k8s_netem.resolve.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_k8s_netem.api.protocol import Api, Object
    from pytest_k8s_netem.cluster.access import Access
    from pytest_k8s_netem.cluster.attaching import Containers
    from pytest_k8s_netem.controller.fleet import Emit
    from pytest_k8s_netem.controller.witness import Witness
    from pytest_k8s_netem.docker.attachments import Attachments
    from pytest_k8s_netem.kube.sockets import Sockets


class Control(Protocol):
    """What brings TrafficProfiles into force.

    :ivar api: where TrafficProfiles go, and all else. :ivar attachments: containers beside its pods; None = no way.
    """

    api: Api
    attachments: Attachments | None

    @property
    def lease(self) -> str:
        """``namespace/name`` of the Lease that profiles name; "" = they end with this process."""

    @property
    def witness(self) -> Witness:
        """Who can say what became of a profile; after :meth:`start`."""

    async def start(self) -> None:
        """Bring it up.

        :raises ProviderError: if that cannot be.
        """

    async def stop(self) -> None:
        """Heal what this run impaired, and end what :meth:`start` began."""

    async def namespace_ready(self, name: str) -> None:
        """Make it ready for impairing pods."""

    async def parts(self) -> Sequence[Object]:
        """Its own pods in the cluster, for their logs."""


class InProcess:
    """The controller in this process: TrafficProfiles live here, all else in the cluster; nothing is installed.

    :param containers: over the cluster's API. :param agent_image: as the nodes know it.
    :param identity: who it is, towards agents.
    :param access: what the controller may see and touch; None = all.
    :param apiserver: addresses that are spared by ``exempt``.
    """

    lease = ""

    def __init__(
        self,
        containers: Containers,
        sockets: Sockets,
        agent_image: str,
        *,
        identity: str,
        emit: Emit,
        access: Access | None = None,
        apiserver: Sequence[str] = (),
    ) -> None:
        self.api: Api = SplitApi(MemoryApi(), containers.api, {TRAFFICPROFILES})
        self.attachments: Attachments | None = containers.attachments
        self._runtime = Runtime(ConfinedApi(self.api, access.scopes if access is not None else {}))
        self.agents = EphemeralAgents(self._runtime, agent_image)
        self.witness = TrafficController(
            self._runtime,
            containers.beside(ExecChannels(sockets, self.agents)),
            identity=identity,
            emit=emit,
            apiserver=apiserver,
            view=access.view if access is not None else View(injects=True),
        )
        self._gates = Gatekeeper(self._runtime, sockets, self.agents, self.witness)

    async def start(self) -> None:
        """See :meth:`Control.start`."""
        await self._runtime.start()

    async def stop(self) -> None:
        """See :meth:`Control.stop`."""
        await self._runtime.stop()
        await self._gates.stop()
        await self.witness.stop()
        if self.attachments is not None:
            await self.attachments.stop()

    async def namespace_ready(self, name: str) -> None:
        """Nothing is needed."""

    async def parts(self) -> Sequence[Object]:
        """None: it is in this process."""
        return ()
