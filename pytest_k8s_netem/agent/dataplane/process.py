"""The engine's end of a worker: forks it, asks it, ends it."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
from contextlib import suppress

from pytest_k8s_netem.agent.forked import is_over

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

PATIENCE = 2.0
"""Seconds for an answer, which takes a fraction of a millisecond; beyond, the worker counts as dead."""


class Process:
    """A running worker.

    :ivar hung: whether it has ever kept somebody waiting in vain; it is then good for no other plan.
    """

    def __init__(self) -> None:
        from pytest_k8s_netem.agent.dataplane import worker  # before the fork: the child imports nothing

        self._limit = worker.MAX_MESSAGE
        self._control, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._control, far):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, worker.MAX_MESSAGE)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            worker.main(far, parent)
        far.close()
        self._control.settimeout(PATIENCE)
        self._owed = 0
        self.hung = False

    @property
    def descriptor(self) -> int:
        """Becomes readable when the worker has died; nothing else is ever to be read there between requests."""
        return self._control.fileno()

    @property
    def lives(self) -> bool:
        """Whether it can still be asked, as far as is known; asked between requests."""
        poll = select.poll()  # select(2) takes no descriptor above 1023, and an agent of many pods has those
        poll.register(self._control, select.POLLIN)
        return not poll.poll(0)

    def tell(self, op: str, sockets: Sequence[socket.socket] = (), **fields: Any) -> None:
        """Send a request with sockets beside it, without waiting: a new worker has yet to start.

        :raises OSError: if the worker is gone. What it refuses is raised by the next :meth:`ask`.
        """
        message = json.dumps({"op": op, **fields}).encode()
        socket.send_fds(self._control, [message], [sock.fileno() for sock in sockets])
        self._owed += 1

    def ask(self, op: str, sockets: Sequence[socket.socket] = (), **fields: Any) -> Any:
        """Send a request with sockets beside it; return the answer.

        :raises OSError: if the worker is gone, hangs, or refuses (EINVAL, with its words), this or what it was told.
        """
        self.tell(op, sockets, **fields)
        refused, found = "", {}
        while self._owed:
            found = self._answer()
            refused = refused or found.get("error", "")
        if refused:
            raise OSError(errno.EINVAL, f"the sink's worker: {refused}")
        return found["ok"]

    def _answer(self) -> dict[str, Any]:
        try:
            answer = self._control.recv(self._limit)
        except TimeoutError:
            self.hung = True
            raise
        self._owed -= 1  # not before: one that comes too late is not taken for the answer to the next request
        if not answer:
            raise BrokenPipeError(errno.EPIPE, "the sink's worker is gone")
        found: dict[str, Any] = json.loads(answer)
        return found

    def end(self) -> None:
        """Begin to end the worker, with all packets that it holds: the kernel takes its time to close its sockets."""
        self._control.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def over(self) -> bool:
        """Whether the worker is gone."""
        return is_over(self.pid)
