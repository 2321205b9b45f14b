"""What a pod's own clock says of its way to the echo server, all the time: the faults are judged by this."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

PACE = 0.05
"""Seconds between two datagrams."""
ENOUGH = 10
"""Datagrams in a row that an impairment has met, so that it is no stumble of the machine."""
DELAY = 200
"""Milliseconds that the faults' impairments add: far from what a busy machine does to a healthy round trip."""
SAMPLER = """
import json, select, socket, sys, time
pace = float(sys.argv[2])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((sys.argv[1], 7))
sock.setblocking(False)
sent, number = {}, 0
with open("/tmp/trace", "w", buffering=1) as trace:
    while True:
        due = time.monotonic() + pace
        number += 1
        sent[number] = (time.time(), time.monotonic())
        try:
            sock.send(number.to_bytes(8, "big"))
        except OSError:
            pass
        while (left := due - time.monotonic()) > 0:
            if not select.select([sock], [], [], left)[0]:
                continue
            try:
                back = int.from_bytes(sock.recv(16), "big")
            except OSError:
                continue
            if back in sent:
                at, began = sent.pop(back)
                print(f"{at:.3f} {1000 * (time.monotonic() - began):.1f}", file=trace)
"""


@dataclass(frozen=True)
class Trace:
    """Answered datagrams: (unix time of sending, round trip in ms), by time of sending.

    :ivar taken: unix time at which it was read.
    """

    samples: tuple[tuple[float, float], ...]
    taken: float

    def fast(self, start: float, end: float = float("inf")) -> list[float]:
        """When datagrams were sent, between two times, that no impairment met."""
        return [at for at, rtt in self.samples if start <= at <= end and rtt < DELAY]

    def slow(self, start: float, end: float = float("inf")) -> list[float]:
        """When datagrams were sent, between two times, that met one, or a very busy machine."""
        return [at for at, rtt in self.samples if start <= at <= end and rtt >= DELAY]


class Client:
    """A pod that samples without rest.

    :param pod: its handle.
    """

    def __init__(self, pod: Any) -> None:
        self.pod = pod
        self.name: str = pod.name
        self.node: str = pod.node

    def trace(self) -> Trace:
        """What it has seen so far."""
        text = self.pod.exec(["cat", "/tmp/trace"]).stdout
        rows = (line.split() for line in text.splitlines() if line.count(" ") == 1)
        return Trace(tuple(sorted((float(at), float(rtt)) for at, rtt in rows)), time.time())

    def impaired(self) -> None:
        """See that it is impaired now."""
        since, last = time.time(), self.trace().samples
        while len(last) < ENOUGH or last[-ENOUGH][0] < since or min(rtt for _, rtt in last[-ENOUGH:]) < DELAY:
            assert time.time() < since + 20, last[-20:]
            time.sleep(0.1)
            last = self.trace().samples

    def healed(self, before: float) -> float:
        """Wait until it is healed, which must have happened before a unix time; when that was."""
        start = time.time()
        while not (fast := self.trace().fast(start)):
            assert time.time() < before + 5, "it was not healed in time"
            time.sleep(0.2)
        assert fast[0] < before
        return fast[0]
