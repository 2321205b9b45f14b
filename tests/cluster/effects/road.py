"""Two pods and the road between them: numbered datagrams, stamped by the kernel where they arrive.

``left`` is the pod that profiles select; ``right`` and ``other`` are its peers on another node. What is measured is
measured where packets arrive: at the peer for egress, in the pod's own socket for ingress. The agent is never asked.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

PORT = 4000
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
MILLISECOND, SECOND = 1_000_000, 1_000_000_000
_NUMBER = struct.Struct("!Iq")
"""A datagram's payload: its number, and when it was sent (CLOCK_REALTIME, ns)."""
QUIET = 0.4
"""Seconds without a packet after which no more are expected; longer where more delay is asked for."""
TAIL = 0.1
"""Seconds for second copies, once every datagram is there."""
SPREAD, FEW = 0.1, 100
"""Seconds that a flow of a few takes: a machine that stands still for a moment makes a part of it late, not all."""
DENSE = 0.0001
"""Seconds between two datagrams of many."""


@dataclass(frozen=True)
class Arrival:
    """A datagram as it came: its number, when it was sent and when the kernel took it, ns."""

    number: int
    sent: int
    taken: int

    @property
    def delay(self) -> float:
        """ms from the sender's clock to the kernel's stamp."""
        return (self.taken - self.sent) / MILLISECOND


@dataclass(frozen=True)
class Flow:
    """``count`` datagrams were sent; these arrived, in this order."""

    count: int
    arrivals: tuple[Arrival, ...]

    @property
    def numbers(self) -> list[int]:
        return [arrival.number for arrival in self.arrivals]

    @property
    def delays(self) -> list[float]:
        """ms, in order of arrival."""
        return [arrival.delay for arrival in self.arrivals]

    @property
    def lost(self) -> int:
        return self.count - len(set(self.numbers))

    @property
    def doubled(self) -> int:
        """Datagrams that came more than once."""
        return sum(times > 1 for times in Counter(self.numbers).values())

    @property
    def overtaken(self) -> int:
        """Arrivals behind one that was sent later."""
        highest, late = -1, 0
        for number in self.numbers:
            late += number < highest
            highest = max(highest, number)
        return late


class Road:
    """What a test does on the road.

    :param engine: every profile asks for it.
    """

    def __init__(self, cluster: Any, netem: Any, engine: str) -> None:
        self.cluster, self.engine, self._netem = cluster, engine, netem
        self.left, self.right, self.other = (cluster.pod(name) for name in ("left", "right", "other"))
        self._open: list[socket.socket] = []

    def close(self) -> None:
        for sock in self._open:
            sock.close()

    def impair(self, **words: Any) -> Any:
        """A block in which what ``left`` sends to ``right`` is impaired, unless the words say who else."""
        words = {"engine": self.engine, "pods": "app=left", "unexercised": "ignore", "inert": "ignore", **words}
        if not {"to", "from_", "direction", "preset", "rtt"} & set(words):
            words["to"] = "app=right"
        return self._netem.impair(**words)

    def impair_with(self, **words: Any) -> Any:
        """A block with nothing added to the words, for whole profiles."""
        return self._netem.impair(unexercised="ignore", inert="ignore", **words)

    def towards(self, direction: str) -> dict[str, str]:
        """Arguments that say: between ``left`` and ``right``, this way."""
        return {"to": "app=right"} if direction == "egress" else {"from_": "app=right"}

    def ends(self, direction: str) -> tuple[Any, Any]:
        """(sender, receiver) of traffic in a direction, seen from ``left``."""
        return (self.left, self.right) if direction == "egress" else (self.right, self.left)

    def socket(self, pod: Any, family: int = 4, kind: int = socket.SOCK_DGRAM) -> socket.socket:
        sock = pod.socket(FAMILY[family], kind)
        self._open.append(sock)
        sock.settimeout(20)
        return sock

    def receiver(self, pod: Any, family: int = 4, port: int = PORT) -> socket.socket:
        """A UDP socket with kernel arrival stamps and a buffer for a whole test."""
        sock = self.socket(pod, family)
        stamped(sock)
        sock.bind(("", port))
        return sock

    def packets(self, pod: Any) -> socket.socket:
        """All frames that reach or leave a pod's eth0, stamped; outgoing ones too."""
        sock = pod.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._open.append(sock)
        stamped(sock)
        sock.bind(("eth0", ETH_P_ALL))
        sock.settimeout(20)
        return sock

    def flow(
        self,
        count: int,
        *,
        direction: str = "egress",
        family: int = 4,
        size: int = 64,
        pause: float | None = None,
        port: int = PORT,
        quiet: float = QUIET,
        to: Any = None,
        source: Any = None,
        tos: int = 0,
        option: tuple[int, int, bytes] | None = None,
    ) -> Flow:
        """Send ``count`` datagrams of ``size`` bytes of payload, ``pause`` s apart; take what arrives."""
        if pause is None:
            pause = SPREAD / count if count <= FEW else DENSE
        sender, target = self.ends(direction)
        sender, target = source or sender, to or target
        with closing(self.receiver(target, family, port)) as there, closing(self.socket(sender, family)) as here:
            if tos:
                here.setsockopt(*((socket.IPPROTO_IP, socket.IP_TOS) if family == 4 else (41, 67)), tos)
            if option:
                here.setsockopt(*option)
            here.connect((address(target, family), port))
            send(here, range(count), size, pause)
            return Flow(count, tuple(arrivals(there, quiet, range(count))))

    def tc(self, pod: Any, *words: str) -> Any:
        """What iproute2's ``tc`` reads in a pod."""
        return json.loads(pod.exec(["tc", "-j", *words]).stdout or "[]")

    def netems(self, pod: Any | None = None) -> list[dict[str, Any]]:
        """The netem qdiscs of a pod as ``tc`` reads them."""
        found = self.tc(pod or self.left, "qdisc", "show")
        return [qdisc["options"] for qdisc in found if qdisc["kind"] == "netem"]


@contextmanager
def closing(sock: socket.socket) -> Iterator[socket.socket]:
    with sock:
        yield sock


def address(pod: Any, family: int = 4) -> str:
    """A pod's address of a family."""
    return next(ip for ip in pod.ips if (":" in ip) == (family == 6))


def stamped(sock: socket.socket) -> None:
    """Ask for kernel stamps, and for a buffer as large as this user may have."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    with suppress(PermissionError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 << 20)


def payload(number: int, size: int = 64) -> bytes:
    return _NUMBER.pack(number, time.time_ns()).ljust(size, b"\0")


def send(sock: socket.socket, numbers: Any, size: int = 64, pause: float = DENSE) -> None:
    """Send numbered datagrams from one CPU: a thread that moves would have its packets overtake each other."""
    with on_one_cpu():
        due = time.perf_counter()
        for number in numbers:
            while (left := due - time.perf_counter()) > 0:
                if left > 0.001:
                    time.sleep(left / 2)
            with suppress(ConnectionRefusedError):
                sock.send(payload(number, size))
            due += pause


@contextmanager
def on_one_cpu() -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def arrivals(sock: socket.socket, quiet: float, expected: range = range(0)) -> Iterator[Arrival]:
    """What has come and comes, until nothing does for ``quiet`` seconds; sooner when all that is expected is there."""
    missing = set(expected)
    for taken, data in received(sock, quiet):
        number, sent = _NUMBER.unpack_from(data)
        missing.discard(number)
        if expected and not missing:
            sock.settimeout(TAIL)
        yield Arrival(number, sent, taken)


def received(sock: socket.socket, quiet: float) -> Iterator[tuple[int, bytes]]:
    """(kernel's stamp, ns; data) until nothing comes for ``quiet`` seconds."""
    sock.settimeout(quiet)
    while True:
        try:
            data, control, _, _ = sock.recvmsg(65536, 128)
        except TimeoutError:
            return
        seconds, nanoseconds = struct.unpack("@ll", control[0][2][:16])
        yield seconds * SECOND + nanoseconds, data


class Stream:
    """Numbered datagrams in the background, ``pause`` s apart, until its block ends: for changes under traffic."""

    def __init__(self, sock: socket.socket, pause: float = 0.0005) -> None:
        self._sock, self._pause = sock, pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self.sent = 0

    def _send(self) -> None:
        with on_one_cpu():
            while not self._stop.is_set():
                self._sock.send(payload(self.sent))
                self.sent += 1
                time.sleep(self._pause)

    def reaches(self, count: int) -> None:
        """Wait until so many more have been sent."""
        until(lambda wanted=self.sent + count: self.sent >= wanted)

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait for a condition; its value."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds:g} s in vain")
        time.sleep(0.005)
    return found
