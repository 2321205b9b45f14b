"""A client of the echo server that measures with its own clock and prints what it saw as JSON.

``client.py rtt HOST COUNT``: round trips over one TCP connection, in seconds.
``client.py loss HOST COUNT``: datagrams sent, and how many came back within a second of the last.
``client.py talk HOST 0``: a byte every 20 ms over one TCP connection, a line "sent echoed" for each, without end.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import time

REST = 0.02
"""Seconds between two round trips: a processor that has rested wakes late, and that is to be the same whatever the
network adds, so that two measurements differ by nothing else."""


def rtt(host: str, count: int) -> dict[str, list[float]]:
    """Round trip times of single bytes over one connection."""
    with socket.create_connection((host, 7), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times = []
        for _ in range(count):
            time.sleep(REST)
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
            _collect(datagrams, echoed, last + 0.0005)
        _collect(datagrams, echoed, last + 1)
    return {"sent": count, "echoed": len(echoed)}


def talk(host: str, _count: int) -> None:
    """One connection that never rests; it ends when it breaks or is killed."""
    sent = echoed = 0
    with socket.create_connection((host, 7), timeout=30) as connection:
        connection.settimeout(0.02)
        while True:
            connection.sendall(b"x")
            sent += 1
            end = time.monotonic() + 0.02
            while time.monotonic() < end:
                with contextlib.suppress(TimeoutError):
                    if not (data := connection.recv(4096)):
                        sys.exit("the server has ended the connection")
                    echoed += len(data)
            print(sent, echoed, flush=True)


def _collect(datagrams: socket.socket, echoed: set[bytes], until: float) -> None:
    """Take what comes until then; asleep in between, for others share this processor."""
    while (left := until - time.monotonic()) > 0:
        if select.select([datagrams], [], [], left)[0]:
            echoed.add(datagrams.recv(16))


if __name__ == "__main__":
    what, host, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    print(json.dumps({"rtt": rtt, "loss": loss, "talk": talk}[what](host, count)))
