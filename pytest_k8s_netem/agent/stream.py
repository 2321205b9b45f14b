"""A socket that speaks frames, without ever making the loop wait."""

from __future__ import annotations

from pytest_k8s_netem.agent.loop import READ, WRITE
from pytest_k8s_netem.model.frames import Decoder, FrameError, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

    from pytest_k8s_netem.agent.loop import Loop

MAX_UNSENT = 8 << 20
"""Bytes that may wait for a peer that does not read; beyond, its stream is ended."""
CHUNK = 1 << 16


class Stream:
    """Frames in both directions over a connected stream socket, which it owns.

    :ivar on_frame: told each frame, or the :class:`FrameError` in its place. :ivar on_end: told once, at the end.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        on_frame: Callable[[dict[str, Any] | FrameError], None],
        on_end: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._decoder = Decoder()
        self._unsent = bytearray()
        self._on_frame = on_frame
        self._on_end = on_end
        self._open = True
        self._closing = False
        loop.watch(sock.fileno(), self._ready)

    def send(self, frame: dict[str, Any]) -> None:
        """Queue a frame; it is dropped if the stream has ended.

        :raises FrameError: if it is too large to travel.
        """
        if not self._open or self._closing:
            return
        self._unsent += encode(frame)
        self._write()
        if len(self._unsent) > MAX_UNSENT:
            self._end()

    def close(self) -> None:
        """End the stream once what was sent is on its way; no more frames are read."""
        self._closing = True
        self._write()

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._write()
        if events & READ and self._open:
            self._read()

    def _read(self) -> None:
        try:
            data = self._sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        for frame in self._decoder.feed(data):
            if self._open and not self._closing:
                self._on_frame(frame)

    def _write(self) -> None:
        if not self._open:
            return
        try:
            while self._unsent:
                del self._unsent[: self._sock.send(self._unsent[:CHUNK])]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()
            self._closing = True
        if self._closing and not self._unsent:
            self._end()
        else:
            self._loop.watch(self._sock.fileno(), self._ready, READ | (WRITE if self._unsent else 0))

    def _end(self) -> None:
        if not self._open:
            return
        self._open = False
        self._loop.forget(self._sock.fileno())
        self._sock.close()
        self._loop.after(0, self._on_end)  # whoever sent the frame that failed is not yet done
