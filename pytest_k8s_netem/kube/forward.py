"""Port-forward: a listener here whose connections reach a pod's loopback, each over a websocket of its own."""

from __future__ import annotations

import asyncio
import socket as sockets
from contextlib import suppress

from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.run.forks import keep_from_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.kube.sockets import Sockets

PROTOCOLS = ("v4.channel.k8s.io",)
DATA, ERROR = 0, 1
"""Channels of the first (and only) port; each begins with a message that repeats the port, two bytes."""
CHUNK = 32 << 10


class Forward:
    """One listener.

    :ivar address: (host, port).
    """

    def __init__(self, sockets: Sockets, pod: Object, port: int) -> None:
        self._sockets, self._pod, self._port = sockets, pod, port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.address = ("", 0)

    async def start(self) -> None:
        """Listen."""
        listener = sockets.create_server(("127.0.0.1", 0))
        keep_from_children(listener)
        self.address = listener.getsockname()
        self._server = await asyncio.start_server(self._accept, sock=listener)

    async def stop(self) -> None:
        """Close it and its connections."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer), name="port-forward")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._carry(reader, writer)
        finally:
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            query = [("ports", str(self._port))]
            socket = await self._sockets.open(self._pod, "portforward", query, PROTOCOLS)
        except ApiError:
            writer.transport.abort()  # a reset, as from a port where nobody listens
            return
        ways = [asyncio.create_task(_upward(reader, socket)), asyncio.create_task(_downward(socket, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            await socket.close()


async def _upward(reader: asyncio.StreamReader, socket: ClientConnection) -> None:
    """Client to pod; the protocol has no half-close, so when the client ends sending all of it ends."""
    from websockets.exceptions import ConnectionClosed

    with suppress(ConnectionClosed, ConnectionError):
        while data := await reader.read(CHUNK):
            await socket.send(bytes([DATA]) + data)


async def _downward(socket: ClientConnection, writer: asyncio.StreamWriter) -> None:
    from websockets.exceptions import ConnectionClosed

    begun: set[int] = set()
    with suppress(ConnectionClosed, ConnectionError):
        while True:
            message = await socket.recv(decode=False)
            channel, data = message[0], bytes(message[1:])
            if channel not in begun:
                begun.add(channel)
                data = data[2:]
            if channel == ERROR and data:
                writer.transport.abort()
                return
            if channel == DATA and data:
                writer.write(data)
                await writer.drain()
