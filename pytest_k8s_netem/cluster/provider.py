"""What runs the pods: the one protocol of every provider; asynchronous, called on the run's loop only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pytest_k8s_netem.api.protocol import Api, Kind, Object
    from pytest_k8s_netem.controller.witness import Witness
    from pytest_k8s_netem.docker.attachments import Attachments


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended.

    :ivar returncode: exit status; negative: the signal that ended it.
    :ivar stdout: decoded as UTF-8, bad bytes replaced; ``stderr`` likewise.
    """

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


class RunningCommand(Protocol):
    """A command that goes on in a pod."""

    async def wait(self) -> Completed:
        """Until it ends."""

    async def kill(self, signal: int) -> None:
        """Send it a signal; nothing happens if it has ended."""

    def output(self) -> tuple[str, str]:
        """What it has written so far: stdout, stderr."""


class Provider(Protocol):
    """A cluster and the ways into its pods; one conformance suite holds for all.

    :ivar home: the namespace of what names none. :ivar makes_namespaces: else tests get :attr:`home` in place of their
        own.
    :ivar lease: ``namespace/name`` of the Lease that this run's profiles name; "" = they end with this process anyway.
    """

    name: str
    home: str
    makes_namespaces: bool
    api: Api
    witness: Witness
    attachments: Attachments
    lease: str

    async def start(self) -> None:
        """Serve the API; impair what is in it.

        :raises ProviderError: if this machine cannot, naming what is missing and the fix.
        """

    async def open(self) -> None:
        """Have what pods run on, before the first of them; a run that has containers only does without.

        :raises ProviderError: if this machine cannot, naming what is missing and the fix.
        """

    async def stop(self) -> None:
        """Take down all that :meth:`start` and :meth:`open` made, but for what :meth:`remains` named."""

    def reads(self, kind: Kind, namespace: str) -> bool:
        """Whether objects of that kind can be listed and watched there."""

    def limits(self) -> list[str]:
        """What this cluster keeps from being promised, a sentence each; after :meth:`start`."""

    def remains(self, failed: bool) -> str:
        """Told before :meth:`stop` whether a test failed: what will be left on purpose, in words; "" = nothing."""

    async def save_logs(self, directory: Path) -> str:
        """Save what explains a failure and goes with the cluster: where it is, in words; "" = nothing goes.

        :param directory: made if it is needed; after :meth:`remains`.
        """

    async def namespace_ready(self, name: str) -> None:
        """Wait until a new namespace takes pods."""

    async def load_image(self, name: str) -> None:
        """Bring an image of the local Docker to where pods run.

        :raises ProviderError: if that fails.
        """

    def lost(self) -> str:
        """Why the cluster is no more although nobody stopped it; "" while it lives."""

    def check(self, manifest: Object) -> Object:
        """The manifest as this provider takes it.

        :raises ConfigError: naming each field that it cannot honour.
        """

    async def spawn(
        self,
        pod: Object,
        argv: Sequence[str],
        *,
        container: str = "",
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> RunningCommand:
        """Start a command beside the pod's containers."""

    async def logs(self, pod: Object, container: str = "", *, lines: int = 0, previous: bool = False) -> str:
        """What a container (default: the first) has written.

        :param lines: the last so many; 0 = all. :param previous: by its life before the last restart, where the cluster
            keeps that apart; else "".
        """

    async def forward(self, pod: Object, port: int) -> tuple[str, int]:
        """A listener on this machine whose connections reach the pod's loopback, never impaired: (host, port)."""

    async def unforward(self, address: tuple[str, int]) -> None:
        """Close that listener."""

    async def socket(self, pod: Object, family: int, type_: int, protocol: int) -> socket.socket:
        """A socket of this process that lives in the pod's network.

        :raises ClusterError: where the provider cannot give one.
        """

    async def part_logs(self, lines: int) -> dict[str, str]:
        """The last lines of what its own parts outside pods have written, by part, for reports."""
