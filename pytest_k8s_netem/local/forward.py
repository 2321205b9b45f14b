"""A byte relay: connections to a listening socket outside go on to a port on a pod's loopback.

Runs as a process of its own, in the pod's network namespace; the listener was made elsewhere and handed in.
Nothing here crosses the pod's interfaces, so no impairment touches it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading

_CHUNK = 1 << 16
_LOOPBACKS = ("127.0.0.1", "::1")
_RESET = struct.pack("ii", 1, 0)
"""struct linger: a close sends RST, so that a client learns that nobody listens."""


def relay(listener: socket.socket, port: int) -> int:
    """Serve until killed; each connection has two threads."""
    listener.setblocking(True)
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return os.EX_OSERR
        threading.Thread(target=_serve, args=(client, port), daemon=True).start()


def _serve(client: socket.socket, port: int) -> None:
    pod = _connect(port)
    if pod is None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        client.close()
        return
    back = threading.Thread(target=_pump, args=(pod, client), daemon=True)
    back.start()
    _pump(client, pod)
    back.join()
    client.close()
    pod.close()


def _connect(port: int) -> socket.socket | None:
    for address in _LOOPBACKS:
        with contextlib.suppress(OSError):
            return socket.create_connection((address, port))
    return None


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy one direction and pass its end on; a reset of either side ends both."""
    try:
        while data := source.recv(_CHUNK):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
