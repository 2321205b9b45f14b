"""The controller's end of a frame stream to one agent."""

from __future__ import annotations

from typing import Any, Protocol

from pytest_k8s_netem.errors import ImpairmentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class ChannelClosed(ImpairmentError):
    """The stream to an agent has ended, or broke; what the agent held for us it heals by itself."""


class Channel(Protocol):
    """An open session with an agent; it may serve many targets."""

    async def request(self, op: str, *, target: str = "", **fields: Any) -> dict[str, Any]:
        """Send one frame and wait for its answer's ``ok``.

        :raises ImpairmentError: if the agent answers problems.
        :raises ChannelClosed: if the stream ends first.
        """

    def events(self) -> AsyncIterator[dict[str, Any]]:
        """Unsolicited frames, until the stream ends."""

    async def unanswered(self) -> None:
        """A request was not answered in time: whoever can end a hung agent does, and the stream ends with it."""

    async def abandon(self) -> None:
        """End the stream, and begin anew on another one: what is in force goes on meanwhile, while its lease lasts."""

    async def close(self) -> None:
        """End the session; the agent heals what it owned."""


class Channels(Protocol):
    """Where the controller gets channels from: the local node host, or pods/exec."""

    async def open(self, pod: dict[str, Any]) -> Channel:
        """The channel that serves this pod (shared by all pods of one agent).

        :raises ImpairmentError: if this pod can never be impaired, or not now.
        """

    def target(self, pod: dict[str, Any]) -> str:
        """The pod's target name on its channel."""

    def lease(self, pod: dict[str, Any]) -> float | None:
        """Seconds that this pod's plans live without a renewal; None = as long as the session."""

    async def guest(self, pod: dict[str, Any]) -> Channel | None:
        """A new channel beside the controller's own, whose probes leave counters alone; None = there is none."""
