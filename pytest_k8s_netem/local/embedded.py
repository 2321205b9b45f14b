"""The embedded cluster: node host, nodes, kubelet, Deployments and Services, started and ended together."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

from pytest_k8s_netem.errors import ClusterError
from pytest_k8s_netem.local.channels import LocalChannels
from pytest_k8s_netem.local.deployments import Deployments
from pytest_k8s_netem.local.host import NodeHost
from pytest_k8s_netem.local.kubelet import Kubelet, Settings
from pytest_k8s_netem.local.lifecycle import Gate, open_gate
from pytest_k8s_netem.local.services import Endpoints

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.controller.runtime import Runtime
    from pytest_k8s_netem.local.process import Process

_INHERITED = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")


def inherited_environment() -> dict[str, str]:
    """What containers take over from the test process: where programs and their language are, nothing else."""
    return {name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith("LC_")}


class EmbeddedCluster:
    """All parts of one embedded cluster on one runtime, which the caller starts and stops.

    :param directory: of this run; logs are written below it. :param gate: see :data:`lifecycle.Gate`.
    :param farewell: awaited between a pod's last command and the end of its network.
    """

    def __init__(
        self,
        runtime: Runtime,
        directory: Path,
        *,
        nodes: int = 2,
        gate: Gate = open_gate,
        farewell: Gate = open_gate,
    ) -> None:
        self.directory = directory
        self.host = NodeHost(directory / "node-host.log")
        self.channels = LocalChannels(self.host, directory / "agent.log")
        settings = Settings(inherited_environment(), directory / "pods", gate, farewell)
        self.kubelet = Kubelet(runtime, self.host, [f"node-{number}" for number in range(nodes)], settings)
        self.deployments = Deployments(runtime)
        self.endpoints = Endpoints(runtime)

    async def start(self) -> None:
        """Start the node host and make the nodes; then the runtime may start.

        :raises ProviderError: if the machine does not let us.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        await self.host.start()
        await self.kubelet.register()

    async def stop(self) -> None:
        """End everything at once; stop the runtime first."""
        await self.host.close()

    async def spawn(
        self,
        pod: Object,
        argv: Sequence[str],
        stdio: tuple[int, int, int],
        *,
        container: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a command beside a container (default: the first), as its user, in its directory and environment.

        :param stdio: descriptors of standard input and outputs, which stay the caller's.
        :raises ClusterError: if the pod does not run or the command cannot be executed.
        """
        life = self.kubelet.life(pod)
        program = life.program(container)
        with _named(pod, argv):
            return await self.host.spawn(
                life.key,
                argv,
                env={**program.env, **(env or {})},
                box=program.name,
                cwd=program.cwd,
                uid=program.uid,
                gid=program.gid,
                stdio=stdio,
            )

    async def beside(self, pod: Object, argv: Sequence[str], output: int) -> Process:
        """Start a command in a pod's network with the files of this machine, as root there; outputs go to ``output``.

        :raises ClusterError: if the pod does not run or the command cannot be executed.
        """
        life = self.kubelet.life(pod)
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            stdio = (null, output, output)
            with _named(pod, argv):
                return await self.host.spawn(life.key, argv, env=inherited_environment(), stdio=stdio)
        finally:
            os.close(null)


@contextmanager
def _named(pod: Object, argv: Sequence[str]) -> Iterator[None]:
    """Say of a command that was refused what it is and where it was to run."""
    try:
        yield
    except ClusterError as error:
        if not error.problems:
            raise  # it is not about the command
        why = "; ".join(problem.why for problem in error.problems)
        raise ClusterError(f"cannot run {argv[0]} in pod/{pod['metadata']['name']}: {why}") from None
