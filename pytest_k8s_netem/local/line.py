"""Requests with descriptors over a unix socket to a child of ours, answered by number; asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from itertools import count

from pytest_k8s_netem.errors import ClusterError
from pytest_k8s_netem.local.fdstream import FdStream
from pytest_k8s_netem.model.frames import FrameError
from pytest_k8s_netem.model.problem import Problem
from pytest_k8s_netem.run.forks import keep_from_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any


class Line:
    """One end of a control line; belongs to one event loop.

    :param died: makes the error of who asks when the other side has ended.
    :param on_event: told each frame that answers nothing. :param on_end: told once, when the line has ended.
    """

    def __init__(
        self,
        sock: socket.socket,
        died: Callable[[], ClusterError],
        on_event: Callable[[dict[str, Any]], None],
        on_end: Callable[[], None],
    ) -> None:
        self._stream = FdStream(sock)
        self._died, self._on_event, self._on_end = died, on_event, on_end
        self._numbers = count(1)
        self._answers: dict[int, asyncio.Future[tuple[dict[str, Any], list[int]]]] = {}
        self.closed = False
        keep_from_children(sock)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._read)

    async def request(self, op: str, fds: Sequence[int] = (), **fields: Any) -> tuple[dict[str, Any], list[int]]:
        """Ask, and wait: what is answered ``ok`` and the descriptors beside it, which are the caller's.

        :raises ClusterError: if it is refused, or the other side is gone.
        """
        if self.closed:
            raise self._died()
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            self._send({"id": number, "op": op, **fields}, fds)
            self._write()
            frame, given = await answer
        finally:
            self._answers.pop(number, None)
        if problems := frame.get("problems"):
            raise ClusterError("", [Problem.from_wire(problem) for problem in problems])
        return frame["ok"], given

    def close(self) -> None:
        """End it: everything that waits learns it. May be called more than once."""
        if self.closed:
            return
        self.closed = True
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._stream.fileno())
        loop.remove_writer(self._stream.fileno())
        self._stream.close()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(self._died())
        self._on_end()

    def _send(self, frame: dict[str, Any], fds: Sequence[int]) -> None:
        try:
            self._stream.send(frame, fds)
        except FrameError as error:
            raise ClusterError(f"{frame['op']}: {error}") from None

    def _write(self) -> None:
        """Send what is queued, now and as the socket takes it."""
        if self.closed:
            return
        loop = asyncio.get_running_loop()
        if self._stream.flush():
            loop.add_writer(self._stream.fileno(), self._write)
        else:
            loop.remove_writer(self._stream.fileno())

    def _read(self) -> None:
        try:
            frames = self._stream.receive()
        except EOFError:
            self.close()
            return
        for frame, fds in frames:
            self._take(frame, fds)

    def _take(self, frame: dict[str, Any], fds: list[int]) -> None:
        answer = self._answers.get(frame.get("id", 0))
        if "event" in frame:
            self._on_event(frame)
        elif answer and not answer.done():
            answer.set_result((frame, fds))
            return
        for fd in fds:
            os.close(fd)
