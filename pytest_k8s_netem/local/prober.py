"""One readiness probe, asked from a node's network namespace in a short-lived child: TCP connect or HTTP GET."""

from __future__ import annotations

import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_STATUS_LINE = 512
"""Bytes of the answer that are read; the status line is at the front."""


def tcp(host: str, port: int, timeout: float) -> bool:
    """True if a connection is accepted within ``timeout`` seconds."""
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError:
        return False
    return True


def http(host: str, port: int, path: str, headers: Mapping[str, str], timeout: float) -> bool:
    """True if a GET is answered with a status from 200 to 399 within ``timeout`` seconds (per step)."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = {"Host": where, "User-Agent": "kube-probe/netem", "Accept": "*/*", **headers, "Connection": "close"}
    request = f"GET {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.sendall(request.encode())
            return _good(connection.makefile("rb").readline(_STATUS_LINE))
    except OSError:
        return False


def _good(status_line: bytes) -> bool:
    """Judge ``HTTP/1.1 204 No Content``."""
    words = status_line.split()
    return len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() and 200 <= int(words[1]) < 400
