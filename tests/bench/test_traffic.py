"""What passes: the user-space engine, and traffic that no profile means, against the bare path in the same run.

TCP and small packets between two namespaces joined by a veth; the pod's side is impaired.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from figures import median, say
from namespaces import PEER, Two, received, two

from pytest_k8s_netem.agent.dataplane import bpf, filters
from pytest_k8s_netem.agent.dataplane.batches import Sender
from pytest_k8s_netem.agent.dataplane.kernel import KernelEngine
from pytest_k8s_netem.agent.namespace import entered
from pytest_k8s_netem.model.impairment import MILLISECOND, Bernoulli, Impairment
from pytest_k8s_netem.model.match import Match
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import Class, Direction

pytestmark = pytest.mark.needs("root")

SECONDS, ROUNDS = 1.5, 5
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
                count += sender.send(source.fileno(), frames)
        os.write(pipe[1], struct.pack("q", count))

    child = forked(send)
    last, quiet = start, arrivals(world)
    while time.monotonic() < max(last, start + SECONDS) + 0.5:
        time.sleep(0.002)
        if (seen := arrivals(world)) != quiet:
            quiet, last = seen, time.monotonic()
    os.waitpid(child, 0)
    sent = struct.unpack("q", os.read(pipe[0], 8))[0]
    return Flood(sent, quiet - before, (quiet - before) / (last - start) / 1e3)


def arrivals(world: Two) -> int:
    """Packets that the peer's device received."""
    with entered(world.peer):
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    return next(int(line.split()[2]) for line in lines if line.split()[0] == "eth0:")


def delay_error(world: Two, delay: int) -> list[float]:
    """Median, 99th percentile and maximum of arrival minus departure minus delay, ms; 1,000 packets a second."""
    target = world.receiver(world.peer)
    source = world.socket(world.pod)
    source.connect(target.getsockname())
    for _ in range(2000):
        source.send(struct.pack("q", time.time_ns()))
        time.sleep(0.001)
    late = sorted((at - struct.unpack("q", data)[0] - delay) / 1e6 for at, data in received(target, 0.5))
    return [late[len(late) // 2], late[len(late) * 99 // 100], late[-1]]


def both(world: Two, stack: ExitStack, impairment: Impairment) -> None:
    for direction in Direction:
        stack.enter_context(world.impaired(impairment, direction=direction))


MODES = {
    "0 ms, superpackets whole": Impairment(delay=1),
    "20 ms each way, whole": Impairment(delay=20 * MILLISECOND),
    "0 ms, packets cut": Impairment(duplicate=Bernoulli(1e-9)),
    "20 ms each way, cut": Impairment(delay=20 * MILLISECOND, duplicate=Bernoulli(1e-9)),
}


def test_tcp_through_the_userspace_engine() -> None:
    """Bare and impaired by turns: the best of each, and the median of the ratios of neighbours."""
    with two() as world:
        say(f"{'TCP, Gbit/s of bare, ratio':34}{'1 stream':>20}{'4 streams':>20}{'1 from the pod':>20}")
        for name, impairment in MODES.items():
            cells = []
            for streams, from_pod in ((1, False), (4, False), (1, True)):
                bare, through = [], []
                for _ in range(ROUNDS):
                    bare.append(tcp(world, streams, from_pod))
                    with ExitStack() as stack:
                        both(world, stack, impairment)
                        through.append(tcp(world, streams, from_pod))
                ratio = median(a / b for a, b in zip(through, bare, strict=True))
                cells.append(f"{max(through):8.2f} of {max(bare):5.2f} {ratio:4.2f}")
            say(f"{name:34}{''.join(cells)}")


def test_small_packets_through_the_userspace_engine() -> None:
    """One direction impaired; where the packets went that did not arrive, as the engine itself says."""
    with two() as world:
        say(f"{'bare, as fast as can be':34}{small_packets(world)}")
        for name, impairment in MODES.items():
            for offered in (100_000, None):
                with world.impaired(impairment) as sink:
                    flood = small_packets(world, offered)
                    seen = sink.read()["stage"]
                what = "100 k/s offered" if offered else "as fast as can be"
                told = f"dropped {seen.dropped}, lost {seen.lost}, late {seen.lagged / max(seen.passed, 1):.2%}"
                say(f"{name:26}{what:>18}  {flood}  ({told}, p99 {(seen.late_p99 or 0) / 1e6:.1f} ms)")


def test_delay_error_of_the_userspace_engine() -> None:
    with two() as world:
        say("ms late (p50, p99, max), bare:        ", *(f"{ms:.3f}" for ms in delay_error(world, 0)))
        for delay in (1, 20, 200):
            with world.impaired(Impairment(delay=delay * MILLISECOND)) as sink:
                late = delay_error(world, delay * MILLISECOND)
                own = (sink.read()["stage"].late_p99 or 0) / 1e6
                say(
                    f"ms late, {delay:3} ms asked:                ",
                    *(f"{ms:.3f}" for ms in late),
                    f"(worker {own:.3f})",
                )


@pytest.mark.needs("netem")
def test_delay_error_of_the_kernel_engine() -> None:
    with two() as world:
        world.engine = KernelEngine(world.netlink)
        say("ms late (p50, p99, max), bare:        ", *(f"{ms:.3f}" for ms in delay_error(world, 0)))
        for delay in (1, 5, 20, 50, 100, 200):
            with world.impaired(Impairment(delay=delay * MILLISECOND)):
                late = delay_error(world, delay * MILLISECOND)
            say(f"ms late, {delay:3} ms asked:                ", *(f"{ms:.3f}" for ms in late))


def others_than_the_peer(many: int, bits: int) -> PeerSet:
    """So many addresses, drawn from the network of ``2**bits`` addresses in which the peer is."""
    spoken_to = int.from_bytes(socket.inet_aton(PEER[4]), "big")
    network = spoken_to >> bits << bits
    drawn = random.Random(many).sample(range(network, network + (1 << bits)), many + 1)
    return PeerSet.from_networks([(4, address, 32) for address in drawn if address != spoken_to][:many])


@pytest.mark.parametrize(("peers", "bits"), [(1, 8), (10_000, 15), (10_000, 24)])
def test_traffic_that_no_profile_means(peers: int, bits: int) -> None:
    """A rule of so many peers, none of them the one that is spoken to; bare and filtered by turns."""
    others = others_than_the_peer(peers, bits)
    programs = len(bpf.compile_match(Match(remote=others), Direction.EGRESS))
    with two() as world:
        index = world.eth0().index
        ratios: dict[str, list[float]] = {"tcp": [], "packets": []}
        for _ in range(3):
            bare = tcp(world, 4, True), small_packets(world).rate
            listed = [Class("c", "eth0", d, (Match(remote=others),), ("s",)) for d in Direction]
            hooked = [filters.install(world.netlink, index, entry.direction, [entry], {"c": index}) for entry in listed]
            ratios["tcp"].append(tcp(world, 4, True) / bare[0])
            ratios["packets"].append(small_packets(world).rate / bare[1])
            for entry in hooked:
                entry.remove()
        say(
            f"unmatched traffic, {peers:6} peers of a /{32 - bits} in a rule ({programs} programs), "
            "ratio to bare (median of 3): "
            f"TCP {median(ratios['tcp']):.2f}, small packets {median(ratios['packets']):.2f}"
        )
