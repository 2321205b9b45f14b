"""Frames with descriptors beside them, over a unix stream socket: the node host's control line.

Both ends are non-blocking and use the same class; who waits for readiness (selectors or asyncio) is the caller's.
A frame that brings descriptors says how many in ``fds``. The kernel never merges data sent with descriptors into
data sent before (unix(7)), so they arrive in the order of the frames they belong to.
"""

from __future__ import annotations

import array
import os
import socket
from collections import deque

from pytest_k8s_netem.model.frames import Decoder, FrameError, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_CHUNK = 1 << 18
_MOST_FDS = 253
"""SCM_MAX_FD, include/net/scm.h."""
_FD = array.array("i")
_MSG_CMSG_CLOEXEC = 0x40000000
"""include/linux/socket.h: received descriptors are close-on-exec from the start."""


def receive(sock: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """Data and descriptors, which no program that is executed later inherits.

    :func:`socket.recv_fds` would drop the flag that says so (CPython up to 3.13 at least).
    """
    data, messages, _, _ = sock.recvmsg(size, socket.CMSG_LEN(_MOST_FDS * _FD.itemsize), _MSG_CMSG_CLOEXEC)
    fds = array.array(_FD.typecode)
    for level, kind, content in messages:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % _FD.itemsize])
    return data, list(fds)


class FdStream:
    """One end of the line."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._decoder = Decoder()
        self._arrived: deque[int] = deque()
        self._leaving: deque[tuple[memoryview, list[int]]] = deque()

    def fileno(self) -> int:
        """The socket's descriptor, for selectors."""
        return self.socket.fileno()

    def send(self, frame: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Queue a frame and send what the socket takes; the descriptors are duplicated, the caller keeps his own.

        :raises FrameError: if the frame is too long.
        """
        line = encode({**frame, "fds": len(fds)} if fds else frame)
        self._leaving.append((memoryview(line), [os.dup(fd) for fd in fds]))
        self.flush()

    def flush(self) -> bool:
        """Send what is queued; True while something is left. An end of the other side shows when receiving."""
        while self._leaving:
            data, fds = self._leaving[0]
            try:
                sent = socket.send_fds(self.socket, [data], fds) if fds else self.socket.send(data)
            except BlockingIOError:
                return True
            except OSError:
                self._drop_leaving()
                return False
            _close(fds)
            self._leaving[0] = (data[sent:], [])
            if sent == len(data):
                self._leaving.popleft()
        return False

    def receive(self) -> list[tuple[dict[str, Any], list[int]]]:
        """Frames that are complete now, with their descriptors, which are the caller's to close.

        :raises EOFError: at the end of the stream, or when its other side was reset.
        """
        try:
            data, fds = receive(self.socket, _CHUNK)
        except BlockingIOError:
            return []
        except OSError as error:
            raise EOFError(str(error)) from error
        self._arrived.extend(fds)
        if not data:
            raise EOFError("end of stream")
        return [self._with_fds(frame) for frame in self._decoder.feed(data)]

    def close(self) -> None:
        """Close the socket and every descriptor still on its way."""
        self._drop_leaving()
        _close(self._arrived)
        self._arrived.clear()
        self.socket.close()

    def _with_fds(self, frame: dict[str, Any] | FrameError) -> tuple[dict[str, Any], list[int]]:
        if isinstance(frame, FrameError):
            raise EOFError(f"not a frame: {frame}")
        return frame, [self._arrived.popleft() for _ in range(frame.get("fds", 0))]

    def _drop_leaving(self) -> None:
        for _, fds in self._leaving:
            _close(fds)
        self._leaving.clear()


def _close(fds: Sequence[int] | deque[int]) -> None:
    for fd in fds:
        os.close(fd)
