"""What passes: the user-space engine, and traffic that no profile means, against the bare path in the same run.

TCP and small packets between two namespaces joined by a veth; the pod's side is impaired.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from figures import median, say
from namespaces import PEER, Two, received, two

from pytest_k8s_netem.agent.dataplane import filters
from pytest_k8s_netem.agent.dataplane.kernel import KernelEngine
from pytest_k8s_netem.model.impairment import MILLISECOND, Bernoulli, Impairment
from pytest_k8s_netem.model.match import Match
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import Class, Direction

pytestmark = pytest.mark.needs("root")

SECONDS = 2.0
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


def small_packets(world: Two) -> tuple[float, float]:
    """(thousand packets of 64 bytes a second delivered, share lost)."""
    target = world.receiver(world.peer)
    target.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
    source = world.socket(world.pod)
    source.connect(target.getsockname())
    pipe = os.pipe()

    def send() -> None:
        count, end, data = 0, time.monotonic() + SECONDS, bytes(64)
        while time.monotonic() < end:
            for _ in range(50):
                source.send(data)
            count += 50
        os.write(pipe[1], struct.pack("q", count))

    child = forked(send)
    stamps = []
    target.settimeout(1)
    try:
        while True:
            target.recv(2048)
            stamps.append(time.monotonic())
    except TimeoutError:
        pass
    os.waitpid(child, 0)
    sent = struct.unpack("q", os.read(pipe[0], 8))[0]
    return len(stamps) / (stamps[-1] - stamps[0]) / 1e3, 1 - len(stamps) / sent


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


def test_userspace_engine() -> None:
    with two() as world:
        bare = {"1": tcp(world, 1), "4": tcp(world, 4), "pod": tcp(world, 1, True)}
        packets = small_packets(world)
        say(f"{'':34}{'1 stream':>9}{'4 streams':>10}{'from pod':>9} Gbit/s, ratio to bare{'':4}kpps (lost)")
        say(
            f"{'bare':34}{bare['1']:9.2f}{bare['4']:10.2f}{bare['pod']:9.2f}{'':26}{packets[0]:5.0f} ({packets[1]:.2%})"
        )
        for name, impairment in (
            ("0 ms, superpackets whole", Impairment(delay=1)),
            ("20 ms each way, whole", Impairment(delay=20 * MILLISECOND)),
            ("0 ms, packets cut", Impairment(duplicate=Bernoulli(1e-9))),
            ("20 ms each way, cut", Impairment(delay=20 * MILLISECOND, duplicate=Bernoulli(1e-9))),
        ):
            with ExitStack() as stack:
                both(world, stack, impairment)
                one, four, pod = tcp(world, 1), tcp(world, 4), tcp(world, 1, True)
                packets = small_packets(world)
            ratios = f"{one / bare['1']:.2f} {four / bare['4']:.2f} {pod / bare['pod']:.2f}"
            say(f"{name:34}{one:9.2f}{four:10.2f}{pod:9.2f}  {ratios:24}{packets[0]:5.0f} ({packets[1]:.2%})")


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


@pytest.mark.parametrize("peers", [1, 10_000])
def test_traffic_that_no_profile_means(peers: int) -> None:
    """A rule of so many peers, none of them the one that is spoken to; bare and filtered by turns."""
    others = PeerSet.from_networks([(4, (10 << 24) + 2 * at, 32) for at in range(peers)])
    with two() as world:
        index = world.eth0().index
        ratios: dict[str, list[float]] = {"tcp": [], "packets": []}
        for _ in range(3):
            bare = tcp(world, 4, True), small_packets(world)[0]
            listed = [Class("c", "eth0", d, (Match(remote=others),), ("s",)) for d in Direction]
            hooked = [filters.install(world.netlink, index, entry.direction, [entry], {"c": index}) for entry in listed]
            ratios["tcp"].append(tcp(world, 4, True) / bare[0])
            ratios["packets"].append(small_packets(world)[0] / bare[1])
            for entry in hooked:
                entry.remove()
        say(
            f"unmatched traffic, {peers:6} peers in a rule, ratio to bare (median of 3): "
            f"TCP {median(ratios['tcp']):.2f}, small packets {median(ratios['packets']):.2f}"
        )
