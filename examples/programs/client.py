"""A client of the echo server that measures with its own clock and prints what it saw as JSON.

``client.py rtt HOST COUNT``: round trips over one TCP connection, in seconds.
``client.py loss HOST COUNT``: datagrams sent, and how many came back within a second of the last.
"""

from __future__ import annotations

import json
import socket
import sys
import time


def rtt(host: str, count: int) -> dict[str, list[float]]:
    """Round trip times of single bytes over one connection."""
    with socket.create_connection((host, 7), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times = []
        for _ in range(count):
            start = time.perf_counter()
            connection.sendall(b"x")
            connection.recv(1)
            times.append(time.perf_counter() - start)
    return {"rtts": times}


def loss(host: str, count: int) -> dict[str, int]:
    """Datagrams sent and echoed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    echoed = set()
    with socket.socket(family, socket.SOCK_DGRAM) as datagrams:
        datagrams.connect((host, 7))
        datagrams.setblocking(False)
        last = time.monotonic()
        for number in range(count):
            datagrams.send(number.to_bytes(4, "big"))
            last = time.monotonic()
            while time.monotonic() < last + 0.0005:
                _collect(datagrams, echoed)
        while time.monotonic() < last + 1 and len(echoed) < count:
            _collect(datagrams, echoed)
    return {"sent": count, "echoed": len(echoed)}


def _collect(datagrams: socket.socket, echoed: set[bytes]) -> None:
    try:
        while True:
            echoed.add(datagrams.recv(16))
    except BlockingIOError:
        pass


if __name__ == "__main__":
    what, host, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    print(json.dumps({"rtt": rtt, "loss": loss}[what](host, count)))
