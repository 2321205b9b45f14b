"""One readiness probe over a socket of a node's network namespace: TCP connect or HTTP GET.

No process is made for it: pods that become ready are asked ten times a second, and a fork of the node host costs as
much, in a guest, as a server needs to start.
"""

from __future__ import annotations

import asyncio

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

_STATUS_LINE = 512
"""Bytes of the answer that are read; the status line is at the front."""


async def tcp(sock: socket.socket, host: str, port: int) -> bool:
    """True if a connection is accepted."""
    try:
        await _connect(sock, host, port)
    except OSError:
        return False
    return True


async def http(sock: socket.socket, host: str, port: int, path: str, headers: Mapping[str, str]) -> bool:
    """True if a GET is answered with a status from 200 to 399."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = {"Host": where, "User-Agent": "kube-probe/netem", "Accept": "*/*", **headers, "Connection": "close"}
    request = f"GET {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    try:
        await _connect(sock, host, port)
        await asyncio.get_running_loop().sock_sendall(sock, request.encode())
        return _good(await _first_line(sock))
    except OSError:
        return False


async def _connect(sock: socket.socket, host: str, port: int) -> None:
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, port))


async def _first_line(sock: socket.socket) -> bytes:
    data = b""
    while b"\n" not in data and len(data) < _STATUS_LINE:
        chunk = await asyncio.get_running_loop().sock_recv(sock, _STATUS_LINE - len(data))
        if not chunk:
            break
        data += chunk
    return data.partition(b"\n")[0]


def _good(status_line: bytes) -> bool:
    """Judge ``HTTP/1.1 204 No Content``."""
    words = status_line.split()
    return len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() and 200 <= int(words[1]) < 400
