"""Traffic between two namespaces joined by a veth, whose pod's side is impaired: TCP, and small packets."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from namespaces import PEER, Two, received

from pytest_k8s_netem.agent.dataplane.batches import Sender
from pytest_k8s_netem.agent.namespace import entered

SECONDS = 1.5
CHUNK = bytes(1 << 18)


def forked(work: Callable[[], None]) -> int:
    """Run something in a child, which then ends."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    return child


def tcp(world: Two, streams: int, from_pod: bool = False) -> float:
    """Gbit/s of payload received, over the middle of the run."""
    listener = world.socket(world.peer, 4, socket.SOCK_STREAM)
    listener.bind((PEER[4], 0))
    listener.listen()
    clients, servers = [], []
    for _ in range(streams):
        client = world.socket(world.pod, 4, socket.SOCK_STREAM)
        client.connect(listener.getsockname())
        clients.append(client)
        servers.append(listener.accept()[0])
    sources, targets = (clients, servers) if from_pod else (servers, clients)

    def send() -> None:
        import selectors

        ready = selectors.DefaultSelector()
        for sock in sources:
            sock.setblocking(False)
            ready.register(sock, selectors.EVENT_WRITE)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for key, _ in ready.select(0.1):
                key.fileobj.send(CHUNK)

    child = forked(send)
    import select

    total, buffer, start = 0, bytearray(1 << 20), time.monotonic()
    warm, counted_from = start + SECONDS / 4, 0.0
    while (now := time.monotonic()) < start + SECONDS:
        for sock in select.select(targets, [], [], 0.1)[0]:
            total += sock.recv_into(buffer)
        if not counted_from and now > warm:
            total, counted_from = 0, now
    rate = total * 8 / (time.monotonic() - counted_from) / 1e9
    os.waitpid(child, 0)
    for sock in (*clients, *servers, listener):
        sock.close()
    return rate


def pin(process: int, at: int) -> None:
    """Keep a process on one of the processors that this one may use, counted round."""
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(process, {allowed[at % len(allowed)]})


@dataclass(frozen=True)
class Flood:
    """Packets of 64 bytes, as the kernel counted them at both ends.

    :ivar rate: thousands a second that arrived, from the first that was sent to the last that came.
    """

    sent: int
    arrived: int
    rate: float

    def __str__(self) -> str:
        return f"{self.rate:6.0f} k/s, {1 - self.arrived / self.sent:6.2%} short"


def small_packets(world: Two, offered: int | None = None) -> Flood:
    """Send for :data:`SECONDS`, as fast as one processor can or so many a second; nobody reads what arrives.

    The sender, which calls the kernel once for 64 packets, is kept on one processor, a worker on another. Packets are
    counted where they arrive at the peer's device, so that a receiver's pace does not matter.
    """
    target = world.receiver(world.peer)
    with suppress(PermissionError):
        target.setsockopt(socket.SOL_SOCKET, 33, 1)  # SO_RCVBUFFORCE: full at once, what more comes is thrown away
    source = world.socket(world.pod)
    source.connect(target.getsockname())
    if world.engine.process is not None:
        pin(world.engine.process.pid, 1)
    before, start = arrivals(world), time.monotonic()
    pipe = os.pipe()

    def send() -> None:
        pin(0, 0)
        sender, frames, count = Sender(), [bytes(64)] * Sender.MOST, 0
        begin = time.monotonic()
        while (now := time.monotonic()) < begin + SECONDS:
            if offered is None or count < (now - begin) * offered:
                with suppress(BlockingIOError):  # a slow path keeps them in the socket's buffer
                    count += sender.send(source.fileno(), frames)
        os.write(pipe[1], struct.pack("q", count))

    child = forked(send)
    os.close(pipe[1])
    last, quiet = start, arrivals(world)
    while time.monotonic() < max(last, start + SECONDS) + 0.5:
        time.sleep(0.002)
        if (seen := arrivals(world)) != quiet:
            quiet, last = seen, time.monotonic()
    os.waitpid(child, 0)
    sent = struct.unpack("q", os.read(pipe[0], 8))[0]
    os.close(pipe[0])
    return Flood(sent, quiet - before, (quiet - before) / (last - start) / 1e3)


def arrivals(world: Two) -> int:
    """Packets that the peer's device received."""
    with entered(world.peer):
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    return next(int(line.split()[2]) for line in lines if line.split()[0] == "eth0:")


def delay_error(world: Two, delay: int) -> list[float]:
    """Mean, median, 99th percentile and maximum of arrival less departure less delay, ms; 1,000 packets a second."""
    target = world.receiver(world.peer)
    source = world.socket(world.pod)
    source.connect(target.getsockname())
    for _ in range(2000):
        source.send(struct.pack("q", time.time_ns()))
        time.sleep(0.001)
    late = sorted((at - struct.unpack("q", data)[0] - delay) / 1e6 for at, data in received(target, 0.5))
    return [mean(late), late[len(late) // 2], late[len(late) * 99 // 100], late[-1]]
