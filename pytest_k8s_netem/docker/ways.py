"""How an agent comes into a container's network."""

from __future__ import annotations

from typing import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.controller.stream import StreamChannel
    from pytest_k8s_netem.docker.inspection import Container

    Labels = dict[str, str]


class Way(Protocol):
    """One mechanism; it serves several containers, each by the target name that it was given for it."""

    name: str
    """For people."""

    def able(self, container: Container) -> bool:
        """Whether it is worth trying here."""

    async def connect(self, target: str, container: Container, labels: Labels) -> StreamChannel:
        """The controller's channel to the agent that serves the container, which is brought there if there is none.

        :param labels: for what is made in Docker.
        :raises ImpairmentError: if that cannot be done, or not now. :raises ProviderError: if Docker fails.
        """

    async def guest(self, target: str) -> StreamChannel:
        """One more channel to that agent.

        :raises ImpairmentError: if there is no such agent.
        """

    async def leave(self, target: str) -> None:
        """Serve it no more: its network is as it was when this returns, if it is still there. Never fails."""

    async def close(self) -> None:
        """End what serves nobody any more."""
