"""pods/exec: a command beside a container, its streams over one websocket.

Each message begins with its channel's number (k8s.io/apimachinery, util/remotecommand and util/httpstream/wsstream).
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from typing import Any

    from websockets.asyncio.client import ClientConnection

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.kube.sockets import Sockets

STDIN, STDOUT, STDERR, STATUS = range(4)
CLOSE = 255
"""Followed by the number of the channel that ends; since v5.channel.k8s.io."""
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
"""Kubernetes 1.30 and later speaks both; the older one cannot end standard input."""
CHUNK = 32 << 10
"""Bytes of standard input a message, as kubectl sends them."""


class Exec:
    """One command; made by :meth:`start`.

    :ivar status: its exit status, None while it has not ended. :ivar failure: why it could not run, "" = it could.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._sending = asyncio.Lock()
        self._closing: asyncio.Task[None] | None = None
        self.status: int | None = None
        self.failure = ""

    @classmethod
    async def start(
        cls, sockets: Sockets, pod: Object, argv: Sequence[str], *, container: str = "", stdin: bool = False
    ) -> Exec:
        """Start it.

        :param container: default: the pod's first.
        :raises ApiError: if the API server refuses or cannot be reached.
        """
        query = [("stdout", "true"), ("stderr", "true"), ("stdin", str(stdin).lower())]
        query += [("container", container)] if container else []
        query += [("command", word) for word in argv]
        return cls(await sockets.open(pod, "exec", query, PROTOCOLS))

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """What it writes: (:data:`STDOUT` or :data:`STDERR`, bytes), until it ends; then :attr:`status` is known.

        :raises ConnectionError: if the stream breaks off before.
        """
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                message = await self._socket.recv(decode=False)
                if message[:1] == bytes([STATUS]):
                    self._ended(bytes(message[1:]))
                elif len(message) > 1 and message[0] in (STDOUT, STDERR):
                    yield message[0], bytes(message[1:])
        except ConnectionClosed as closed:
            if self.status is None and not self.failure:
                raise ConnectionError(f"pods/exec broke off: {closed}") from None

    async def send(self, data: bytes) -> None:
        """Write to its standard input.

        :raises ConnectionError: if the stream has ended.
        """
        from websockets.exceptions import ConnectionClosed

        try:
            async with self._sending:
                for start in range(0, len(data), CHUNK):
                    await self._socket.send(bytes([STDIN]) + data[start : start + CHUNK])
        except ConnectionClosed as closed:
            raise ConnectionError(f"pods/exec ended: {closed}") from None

    @property
    def ends_input(self) -> bool:
        """Whether the API server can be told of the end of standard input."""
        return self._socket.subprotocol == PROTOCOLS[0]

    async def end_input(self) -> None:
        """End its standard input; nothing happens if the stream has ended."""
        from websockets.exceptions import ConnectionClosed

        with suppress(ConnectionClosed):
            await self._socket.send(bytes([CLOSE, STDIN]))

    def close(self) -> None:
        """End the stream; the command's standard input ends then, the command itself may go on."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._socket.close())

    async def wait_closed(self) -> None:
        """Until the stream has ended."""
        await self._socket.wait_closed()

    def _ended(self, message: bytes) -> None:
        """The last message is a metav1.Status; its causes name the exit status of a command that failed."""
        said = json.loads(message)
        if said.get("status") == "Success":
            self.status = 0
            return
        causes: list[dict[str, Any]] = (said.get("details") or {}).get("causes") or []
        codes = [cause.get("message", "") for cause in causes if cause.get("reason") == "ExitCode"]
        if said.get("reason") == "NonZeroExitCode" and codes and codes[0].isdecimal():
            self.status = int(codes[0])
        else:
            self.failure = str(said.get("message") or said.get("reason") or "the command could not be run")


class RelayStream:
    """A relay's standard streams as :class:`pytest_k8s_netem.controller.stream.ByteStream`."""

    def __init__(self, running: Exec) -> None:
        self._exec = running
        self._output = running.output()
        self._said = b""

    async def receive(self) -> bytes:
        """See :meth:`ByteStream.receive`."""
        async for channel, data in self._output:
            if channel == STDOUT:
                return data
            self._said = (self._said + data)[-1000:]
        if self._exec.status != 0:
            raise ConnectionError(self._said.decode(errors="replace").strip() or self._exec.failure or "relay failed")
        return b""

    async def send(self, data: bytes) -> None:
        """See :meth:`ByteStream.send`."""
        await self._exec.send(data)

    def close(self) -> None:
        """See :meth:`ByteStream.close`."""
        self._exec.close()

    async def wait_closed(self) -> None:
        """See :meth:`ByteStream.wait_closed`."""
        await self._exec.wait_closed()
