"""Websockets to the API server, with the adapter's address and credentials."""

from __future__ import annotations

import asyncio
import socket as sockets
from urllib.parse import quote, urlencode, urlsplit

from pytest_k8s_netem.api.connection import CONNECT_SECONDS
from pytest_k8s_netem.api.refusals import refusal, unreachable
from pytest_k8s_netem.run.forks import keep_from_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from websockets.asyncio.client import ClientConnection

    from pytest_k8s_netem.api.connection import Connection
    from pytest_k8s_netem.api.protocol import Object

OPEN_WITHIN = 10.0
"""Seconds for the connection, TLS, and the API server's way to the pod's node."""
CLOSE_WITHIN = 1.0
"""Seconds for the other side's answer to a close; the stream has ended for us before."""
TLS_BUFFER = 16 << 10
"""Bytes: the largest TLS record (RFC 8446, 5.1). asyncio keeps 256 KiB a connection, too much for a thousand pods."""


class Sockets:
    """Opens websockets to subresources of pods.

    :param connect: the adapter's connection; may block, so it is called in a worker thread.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect

    async def open(
        self, pod: Object, subresource: str, query: Sequence[tuple[str, str]], protocols: Sequence[str]
    ) -> ClientConnection:
        """Connect to ``pods/SUBRESOURCE``.

        :raises ApiError: with the server's refusal, or 0 Unreachable.
        """
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidStatus, WebSocketException
        from websockets.typing import Subprotocol

        host, options = await asyncio.to_thread(self._dial)
        url = f"ws{host.removeprefix('http')}{pod_path(pod, subresource)}?{urlencode(query)}"
        try:
            socket = await connect(
                url,
                subprotocols=[Subprotocol(name) for name in protocols],
                compression=None,
                open_timeout=OPEN_WITHIN,
                close_timeout=CLOSE_WITHIN,
                **options,
            )
        except InvalidStatus as error:
            raise refusal(error.response.status_code, bytes(error.response.body or b"")) from None
        except (OSError, WebSocketException) as error:
            raise unreachable(host, error) from None
        _slim(socket)
        return socket

    def _dial(self) -> tuple[str, dict[str, Any]]:
        """Where the API server is, and how :func:`connect` is to speak to it; blocks."""
        connection = self._connect()
        parts = urlsplit(connection.host)
        address = (parts.hostname or "", parts.port or {"http": 80}.get(parts.scheme, 443))
        try:
            sock = sockets.create_connection(address, CONNECT_SECONDS)
        except OSError as error:
            raise unreachable(connection.host, error) from None
        keep_from_children(sock)
        return connection.host, {"sock": sock, "ssl": connection.tls(), "additional_headers": connection.headers()}


def pod_path(pod: Object, subresource: str) -> str:
    """The path of a pod's subresource on the API server."""
    meta = pod["metadata"]
    return f"/api/v1/namespaces/{quote(meta['namespace'], safe='')}/pods/{quote(meta['name'], safe='')}/{subresource}"


def _slim(socket: ClientConnection) -> None:
    """Let it hold no more memory than it needs; asyncio has no setting for that.

    The buffer is used within one callback of the loop only, so from here it can be replaced.
    """
    protocol: Any = getattr(socket.transport, "_ssl_protocol", None)
    if hasattr(protocol, "_ssl_buffer_view"):
        protocol.max_size = TLS_BUFFER
        protocol._ssl_buffer = bytearray(TLS_BUFFER)
        protocol._ssl_buffer_view = memoryview(protocol._ssl_buffer)
