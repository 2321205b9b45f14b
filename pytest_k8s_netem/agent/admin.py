"""The node host's line: it brings targets and sessions as descriptors, and its end is the agent's."""

from __future__ import annotations

import os

from pytest_k8s_netem.agent.early import socket
from pytest_k8s_netem.agent.loop import READ, WRITE
from pytest_k8s_netem.agent.requests import Refused, identify
from pytest_k8s_netem.model.frames import Decoder, FrameError, encode
from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pytest_k8s_netem.agent.loop import Loop

CHUNK = 1 << 16
MOST_DESCRIPTORS = 253
"""SCM_MAX_FD of linux/net/scm.h: most descriptors beside one message."""
_INT = 4
"""Bytes of a descriptor."""


class Admin:
    """Reads admin frames and the descriptors beside them, which go to the frames in order."""

    def __init__(self, loop: Loop, sock: socket.socket, serves: Serves, on_end: Callable[[], None]) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._serves = serves
        self._on_end = on_end
        self._decoder = Decoder()
        self._descriptors: list[int] = []
        self._unsent = bytearray()
        loop.watch(sock.fileno(), self._ready)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._write()
        if events & READ:
            self._read()

    def _read(self) -> None:
        try:
            data, descriptors = _received(self._sock)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        for fd in descriptors:
            os.set_inheritable(fd, False)
            self._descriptors.append(fd)
        for frame in self._decoder.feed(data):
            self._take(frame)
        if not self._decoder.pending:
            self._drop_descriptors()
        if not data:
            self._loop.forget(self._sock.fileno())
            self._on_end()

    def _take(self, frame: dict[str, Any] | FrameError) -> None:
        if isinstance(frame, FrameError):
            self._answer(None, problems=[Problem("", "", str(frame)).to_wire()])
            return
        number = None
        try:
            number = identify(frame)
            self._do(frame, number)
        except (Refused, OSError) as error:
            problems = error.problems if isinstance(error, Refused) else (Problem("", "", str(error)),)
            self._answer(number, problems=[problem.to_wire() for problem in problems])

    def _do(self, frame: dict[str, Any], number: int | None) -> None:
        op, name = frame.get("op"), frame.get("target")
        if op == "session":
            self._serves.serve(self._descriptor(op))
            self._answer(number, ok={})
        elif op == "target" and isinstance(name, str):
            self._answer(number, ok={"interfaces": self._serves.add(name, self._descriptor(op))})
        elif op == "forget" and isinstance(name, str):
            self._serves.forget(name, lambda: self._answer(number, ok={}))
        else:
            raise Refused(
                Problem(
                    "op",
                    op if isinstance(op, str) else "",
                    "no such admin frame",
                    "target, forget (both with target), session",
                )
            )

    def _descriptor(self, op: str) -> int:
        if not self._descriptors:
            raise Refused(Problem("op", op, "no descriptor beside the frame", "send it by SCM_RIGHTS"))
        return self._descriptors.pop(0)

    def _drop_descriptors(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop(0))

    def _answer(self, number: int | None, **answer: Any) -> None:
        self._unsent += encode({"id": number, **answer})
        self._write()

    def _write(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._sock.send(self._unsent[:CHUNK])]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()  # the end will be read
        self._loop.watch(self._sock.fileno(), self._ready, READ | (WRITE if self._unsent else 0))


def _received(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Bytes, and the descriptors beside them.

    :raises OSError: if the stream is broken, BlockingIOError if nothing has come.
    """
    data, beside, _flags, _address = sock.recvmsg(CHUNK, socket.CMSG_LEN(_INT * MOST_DESCRIPTORS))
    descriptors: list[int] = []
    for level, kind, packed in beside:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors += memoryview(packed[: len(packed) // _INT * _INT]).cast("i")
    return data, descriptors


if TYPE_CHECKING:
    from typing import Protocol

    class Serves(Protocol):
        """Who takes what the node host brings; all of it belongs to the taker, also if it raises."""

        def serve(self, fd: int) -> None:
            """A connected socket that speaks frames."""

        def add(self, name: str, fd: int) -> list[Any]:
            """A network namespace; returns its interfaces as JSON.

            :raises Refused: if it cannot be a target. :raises OSError: if it cannot be entered.
            """

        def forget(self, name: str, done: Callable[[], None]) -> None:
            """A target is to be left.

            :raises Refused: if there is none of that name.
            """
