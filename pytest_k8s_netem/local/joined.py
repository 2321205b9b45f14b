"""An agent of this run outside the node host, for namespaces that others made; it ends with this process."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

from pytest_k8s_netem.errors import ClusterError, ImpairmentError
from pytest_k8s_netem.local.launch import AGENT, end
from pytest_k8s_netem.local.line import Line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


class JoinedAgent:
    """One agent process, started when it is first needed; one that ended is replaced by one that serves nothing.

    It enters the namespaces that it is given, for which it needs CAP_SYS_ADMIN in them (setns(2)): root, mostly.

    :param log: file that takes its complaints.
    :ivar life: grows with each process; what an earlier one served is served no more.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._line: Line | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self.life = 0

    def alive(self) -> bool:
        """Whether it runs."""
        return self._line is not None and not self._line.closed

    def start(self) -> None:
        """Start it, if it does not run."""
        if self.alive():
            return
        self._log.parent.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        with theirs, self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", str(AGENT), "keep", "--admin-fd", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,  # Ctrl-C is for the test; teardown still needs the agent
            )
        self._line = Line(ours, self._died, _ignore, _nothing)
        self.life += 1

    async def add(self, target: str, namespace: int) -> None:
        """Serve a namespace; the descriptor stays the caller's.

        :raises ImpairmentError: if it cannot be entered, or the agent has ended.
        """
        await self._ask("target", target, [namespace])

    async def forget(self, target: str) -> None:
        """Heal it, put the namespace back as it was, and let go of it.

        :raises ImpairmentError: if it is not served, or the agent has ended.
        """
        await self._ask("forget", target)

    async def session(self) -> socket.socket:
        """A connected stream socket that speaks frames with it.

        :raises ImpairmentError: if it has ended.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                await self._ask("session", "", [theirs.fileno()])
            except BaseException:
                ours.close()
                raise
        return ours

    async def close(self) -> None:
        """End it; it puts every namespace back as it was."""
        if self._line is not None:
            self._line.close()
        if self._child is not None:
            await asyncio.to_thread(end, self._child)

    async def _ask(self, op: str, target: str, fds: list[int] | None = None) -> None:
        try:
            if self._line is None:
                raise self._died()
            await self._line.request(op, fds or [], **({"target": target} if target else {}))
        except ClusterError as error:
            raise ImpairmentError(str(error)) from None

    def _died(self) -> ClusterError:
        return ClusterError(f"the agent of attached containers has ended; its log: {self._log}")


def _ignore(_event: dict[str, Any]) -> None:
    """An agent tells nothing unasked on this line."""


def _nothing() -> None:
    """Who asks next, starts it anew."""
