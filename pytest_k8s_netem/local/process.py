"""A process in a pod, as the test process knows it."""

from __future__ import annotations

import asyncio
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Requests(Protocol):
        """The node host, as far as a process needs it."""

        async def request(self, op: str, **fields: Any) -> Any:
            """One op."""


class Process:
    """A process that the node host started; ``number`` is its name there."""

    def __init__(self, host: Requests, number: int) -> None:
        self._host, self.number = host, number
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def status(self) -> int | None:
        """Exit status (-n after signal n), None while it runs."""
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        """Wait for its end; when the node host is lost it counts as killed (-9)."""
        return await asyncio.shield(self._ended)

    async def kill(self, number: int = signal.SIGKILL, *, group: bool = True) -> None:
        """Send a signal to it and, with ``group``, to what it started; nothing happens after its end."""
        if not self._ended.done():
            await self._host.request("kill", process=self.number, signal=int(number), group=group)

    def ended(self, status: int) -> None:
        """Called by the host."""
        if not self._ended.done():
            self._ended.set_result(status)
