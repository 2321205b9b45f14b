"""Provider ``kind``: a cluster in Docker, made for this run and shared by its processes, or found by its name."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from pytest_k8s_netem.cluster.installed import Installed
from pytest_k8s_netem.cluster.remote import RemoteProvider
from pytest_k8s_netem.errors import NetemError, ProviderError
from pytest_k8s_netem.kube import kind
from pytest_k8s_netem.kube.image import AGENT, CONTROLLER, built
from pytest_k8s_netem.kube.install.apply import install
from pytest_k8s_netem.run.identity import Identity
from pytest_k8s_netem.run.sharing import Share

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.cluster.session import Choices
    from pytest_k8s_netem.run.events import EventLog

NODE_IMAGE = "KIND_NODE_IMAGE"
"""Environment variable that names the nodes' image where no option does."""
KEPT = "netem"
"""Name of a cluster that outlives its run, so that the next finds it."""
PREFIX = "kind-"
"""How names of the files begin by which users of a cluster meet."""
MADE, STAYS, KEEP, FAILED = "made", "made to stay", "keep", "failed: "
"""What users tell each other: that one of them made it, for good or not, that one who left wants it to stay, or why
nobody could make it."""


class KindProvider(RemoteProvider):
    """See :class:`pytest_k8s_netem.cluster.provider.Provider`."""

    name = "kind"

    def __init__(self, choices: Choices, directory: Path, events: EventLog) -> None:
        super().__init__(choices, directory, events)
        run = directory.name.partition("-")[0]
        usual = KEPT if choices.keep == "always" else f"netem-{run}"
        self.cluster = kind.KindCluster(choices.cluster or usual, self.kubeconfig)
        self._keep = False
        self._share = Share(directory.parent, f"{PREFIX}{self.cluster.name}")

    async def start(self) -> None:
        """Make the cluster, or find it, and bring the agent's image there.

        :raises ProviderError: if kind, Docker or one of their parts is missing.
        """
        await kind.check()
        images = asyncio.ensure_future(self._images())
        try:
            async with self._share.alone():
                self._share.join()
                await self._found()
                controller, agent = await images
                await self.cluster.provide(controller, agent)
                await self._install(controller, agent)
        finally:
            images.cancel()
        await self.connect(agent)

    def control(self) -> Installed:
        """The controller in the cluster, which all processes of a run share."""
        return Installed(self._cluster, self._sockets, Identity.named(self.directory.name))

    async def stop(self) -> None:
        """Delete the cluster, if a process of this run made it, nobody uses it any more and it is not to be kept."""
        try:
            await self.disconnect()
        finally:  # what cannot be healed goes with the cluster
            await self._leave()

    async def _leave(self) -> None:
        async with self._share.alone():
            goes = self._noted() == MADE and not self._keep
            if self._made() and self._keep:
                self._share.note.write_text(KEEP)
            if self._share.leave() and goes:
                await self.cluster.delete()

    def remains(self, failed: bool) -> str:
        """A cluster of this run that ``--netem-keep`` keeps."""
        self._keep = self.choices.keep == "always" or (failed and self.choices.keep == "on-failure")
        name = self.cluster.name
        return (
            f"kind cluster {name} is kept; look at it: kind export kubeconfig --name {name}; "
            f"remove it: kind delete cluster --name {name}"
            if self._keep and self._made()
            else ""
        )

    async def save_logs(self, directory: Path) -> str:
        """Logs of nodes and pods of a cluster that is about to go."""
        if self._keep or self._noted() != MADE:
            return ""
        logs = directory / "kind"
        try:
            await self.cluster.export_logs(logs)
        except ProviderError as error:  # kind goes on to the next log after one that it cannot have
            some = logs.is_dir() and any(logs.iterdir())
            what = f"{logs} has only some of the logs" if some else "there are no logs"
            return f"{what} of kind cluster {self.cluster.name}: {error}"
        return f"logs of kind cluster {self.cluster.name}: {logs}"

    async def load_image(self, name: str) -> None:
        """Bring an image of the local Docker to the nodes."""
        await self.cluster.load(name)

    async def _images(self) -> tuple[str, str]:
        """Names of the controller's image and the agent's, both in Docker."""
        controller, agent = self.choices.controller_image, self.choices.agent_image
        return controller or await built(CONTROLLER), agent or await built(AGENT)

    async def _install(self, controller: str, agent: str) -> None:
        try:
            await install(self._cluster, controller_image=controller, agent_image=agent)
        except NetemError as error:
            raise ProviderError(f"provider kind: the controller cannot be installed: {error}") from None

    async def _found(self) -> None:
        """See that there is a cluster; who fails to make it says so for all."""
        note = self._share.note
        if await self.cluster.exists():
            await self.cluster.find()
            return
        if note.exists() and (told := note.read_text()).startswith(FAILED):
            raise ProviderError(f"{told[len(FAILED) :]}; a test of another worker tells all of it")
        # Before it is true: who is interrupted leaves something to delete.
        note.write_text(STAYS if self.choices.keep == "always" else MADE)
        try:
            await self._make()
        except ProviderError as error:
            note.write_text(f"{FAILED}{str(error).partition(chr(10))[0]}")
            raise

    async def _make(self) -> None:
        choices = self.choices
        image = choices.kind_image or os.environ.get(NODE_IMAGE, "")
        config = Path(choices.kind_config) if choices.kind_config else None
        workers = choices.nodes if choices.nodes > 1 else 0
        await self.cluster.create(image=image, config=config, workers=workers)

    def _made(self) -> bool:
        return self._noted() in (MADE, STAYS)

    def _noted(self) -> str:
        return self._share.note.read_text() if self._share.note.exists() else ""
