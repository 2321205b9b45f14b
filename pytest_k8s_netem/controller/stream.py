"""Frames over a stream: requests answered by id, unsolicited events in order, one reader for all of them."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from itertools import count
from typing import Any, Protocol

from pytest_k8s_netem.controller.channel import ChannelClosed
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.model.frames import VERSION, Decoder, FrameError, encode
from pytest_k8s_netem.model.problem import Problem
from pytest_k8s_netem.run.forks import keep_from_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable

MAX_EVENTS = 4096
"""Most events kept for a reader that does not come; the oldest go first."""
CHUNK = 1 << 16


class ByteStream(Protocol):
    """A way to an agent and back; whatever is wrong with it is an OSError."""

    async def receive(self) -> bytes:
        """What has come, at least one byte; b"" = the end."""

    async def send(self, data: bytes) -> None:
        """Send all of it, not mixed with what others send."""

    def close(self) -> None:
        """Begin to end it; nothing happens the second time."""

    async def wait_closed(self) -> None:
        """Until it has ended."""


class SocketStream:
    """A :class:`ByteStream` over a unix socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def receive(self) -> bytes:
        """See :meth:`ByteStream.receive`."""
        return await self._reader.read(CHUNK)

    async def send(self, data: bytes) -> None:
        """See :meth:`ByteStream.send`."""
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        """See :meth:`ByteStream.close`."""
        self._writer.close()

    async def wait_closed(self) -> None:
        """See :meth:`ByteStream.wait_closed`."""
        with suppress(OSError):
            await self._writer.wait_closed()


class StreamChannel:
    """Implements :class:`pytest_k8s_netem.controller.channel.Channel`.

    :param name: whose stream it is, for messages. :param hung: ends an agent that answers no more; None = its lease
        decides, since the way to it may be what is slow.
    :ivar on_close: called when this end closes it for good; nobody then opens one to go on with what is in force.
    """

    def __init__(
        self, stream: ByteStream, name: str = "agent", hung: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self.name = name
        self._stream = stream
        self._hung = hung
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._events: deque[dict[str, Any]] = deque(maxlen=MAX_EVENTS)
        self._news = asyncio.Event()
        self._closed: ChannelClosed | None = None
        self.on_close: Callable[[], object] | None = None
        self._task = asyncio.get_running_loop().create_task(self._read(), name=f"frames from {name}")

    @classmethod
    async def over(
        cls, sock: socket.socket, name: str = "agent", hung: Callable[[], Awaitable[None]] | None = None
    ) -> StreamChannel:
        """A channel over a connected unix stream socket, which it owns from now on; see the class."""
        keep_from_children(sock)  # or a fork of the test process would keep a dead run's impairment alive
        return cls(SocketStream(*await asyncio.open_unix_connection(sock=sock)), name, hung)

    @property
    def closed(self) -> bool:
        """Whether the stream has ended."""
        return self._closed is not None

    async def request(self, op: str, *, target: str = "", **fields: Any) -> dict[str, Any]:
        """See :meth:`Channel.request`; a frame beyond the size limit is an ImpairmentError and is not sent."""
        if self._closed:
            raise self._lost()
        number = next(self._ids)
        line = self._line({"v": VERSION, "id": number, "op": op, **({"target": target} if target else {}), **fields})
        answer = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            await self._send(line)
            return _ok(await answer)
        finally:
            self._waiting.pop(number, None)

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """See :meth:`Channel.events`; one reader at a time, events before its coming are kept for it."""
        while True:
            while self._events:
                yield self._events.popleft()
            if self._closed:
                return
            self._news.clear()
            await self._news.wait()

    async def unanswered(self) -> None:
        """See :meth:`Channel.unanswered`."""
        if self._hung is not None and not self.closed:
            await self._hung()

    async def close(self) -> None:
        """See :meth:`Channel.close`; requests under way fail with ChannelClosed."""
        if self.on_close is not None:
            self.on_close()
        await self.abandon()

    async def abandon(self) -> None:
        """See :meth:`Channel.abandon`."""
        self._end("closed by the controller")
        if self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)  # whoever is cancelled here stays so
        await self._stream.wait_closed()

    def _line(self, frame: dict[str, Any]) -> bytes:
        try:
            return encode(frame)
        except FrameError as error:
            problem = Problem(
                f"{frame['op']} of {frame.get('target', '')}", "", str(error), "name fewer peers or ports"
            )
            raise ImpairmentError("", [problem]) from None

    async def _send(self, line: bytes) -> None:
        try:
            await self._stream.send(line)
        except OSError as error:
            self._end(f"cannot be written to: {error.strerror or error}")

    async def _read(self) -> None:
        why = "ended"
        decoder = Decoder()
        try:
            while data := await self._stream.receive():
                for frame in decoder.feed(data):
                    self._take(frame)
        except (OSError, FrameError) as error:
            why = f"broke: {error}"
        finally:
            self._end(why)

    def _take(self, frame: dict[str, Any] | FrameError) -> None:
        if isinstance(frame, FrameError):  # the answer to some request is lost: no stream to go on with
            raise frame
        if "event" in frame:
            self._events.append(frame)
            self._news.set()
            return
        number = frame.get("id")
        answer = self._waiting.get(number) if isinstance(number, int) else None
        if answer is not None and not answer.done():
            answer.set_result(frame)

    def _end(self, why: str) -> None:
        if self._closed is None:
            self._closed = ChannelClosed(f"the stream of {self.name} {why}")
            self._stream.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(self._lost())
        self._news.set()

    def _lost(self) -> ChannelClosed:
        return ChannelClosed(str(self._closed))  # a new one for each who waits: tracebacks are not shared


def _ok(frame: dict[str, Any]) -> dict[str, Any]:
    if isinstance(ok := frame.get("ok"), dict):
        return ok
    problems = frame.get("problems")
    if not isinstance(problems, list) or not problems:
        raise ImpairmentError(f"an answer that is neither ok nor problems: {sorted(frame)}")
    raise ImpairmentError("", [Problem.from_wire(p) for p in problems if isinstance(p, dict)])
