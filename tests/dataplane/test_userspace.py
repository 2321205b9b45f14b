"""The user-space engine on real packets between two namespaces, judged at the peer.

Seeded fates are exact: which packets are lost, doubled or overtaken is what :class:`Fate` says of that seed. Where the
number of packets is TCP's choice, bounds are five sigma (false alarm below 6e-7).
"""

from __future__ import annotations

import hashlib
import math
import os
import select
import signal
import socket
import struct
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from namespaces import FAMILY, PEER, POD, Two, close, received, two

from pytest_k8s_netem.agent.dataplane import offloads, sockets
from pytest_k8s_netem.agent.dataplane.names import COOKIE, is_ours
from pytest_k8s_netem.agent.dataplane.sockets import RECEIVE_BUFFER
from pytest_k8s_netem.agent.namespace import entered
from pytest_k8s_netem.agent.probe.packets import echo
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.model.fate import Fate, packet_time
from pytest_k8s_netem.model.impairment import (
    MILLISECOND,
    Bernoulli,
    EveryNth,
    GilbertElliott,
    Impairment,
    Rate,
    Slot,
)
from pytest_k8s_netem.model.match import ICMP, UDP, Match
from pytest_k8s_netem.model.observed import LATE
from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.model.sizing import sized
from pytest_k8s_netem.model.tables import named

pytestmark = pytest.mark.needs("root")

EGRESS, INGRESS = Direction.EGRESS, Direction.INGRESS
BOTH = pytest.mark.parametrize("direction", [EGRESS, INGRESS])
FAMILIES = pytest.mark.parametrize("family", [4, 6])
SEED = 5
QUIET = 0.3
"""Seconds without a packet after which no more are expected."""


@pytest.fixture
def world():
    with two() as made:
        yield made


class Flow:
    """Numbered datagrams through one direction, and the match that takes them and nothing else."""

    def __init__(self, world: Two, direction: Direction = EGRESS, family: int = 4) -> None:
        source, target = (world.pod, world.peer) if direction is EGRESS else (world.peer, world.pod)
        self.target = world.receiver(target, family)
        self.source = world.socket(source, family)
        self.source.connect(self.target.getsockname()[:2])
        port = Ranges.of(self.target.getsockname()[1])
        ports = {"remote_ports": port} if direction is EGRESS else {"local_ports": port}
        self.match = Match(protocols=Ranges.of(UDP), **ports)

    def send(self, count: int, size: int = 16, first: int = 0, pause: float = 0) -> int:
        """Send; return the time before the first."""
        start = time.time_ns()
        for number in range(first, first + count):
            self.source.send(struct.pack("qq", number, time.time_ns()).ljust(size, b"\0"))
            if pause:
                time.sleep(pause)
        return start

    def numbers(self, quiet: float = QUIET) -> list[int]:
        return [struct.unpack_from("q", data)[0] for _, data in received(self.target, quiet)]

    def delays(self) -> list[int]:
        return [at - struct.unpack_from("q", data, 8)[0] for at, data in received(self.target, QUIET)]


def fates(impairment: Impairment, count: int):
    """What the seed says of ``count`` packets (none of these impairments looks at times or sizes)."""
    fate = Fate(sized(impairment), SEED)
    return [fate.decide(at, 100) for at in range(count)]


class TestWhatPacketsMeet:
    @BOTH
    @FAMILIES
    def test_delay_counts_from_the_kernels_arrival(self, world, direction, family):
        flow = Flow(world, direction, family)
        with world.impaired(Impairment(delay=30 * MILLISECOND), [(flow.match, ("stage",))], direction) as sink:
            flow.send(50, pause=0.001)
            delays = flow.delays()
            assert len(delays) == 50
            assert min(delays) >= 30 * MILLISECOND
            assert sorted(delays)[25] < 60 * MILLISECOND
            seen = sink.read()["stage"]
            assert (seen.passed, seen.delayed, seen.dropped, seen.backlog) == (50, 50, 0, 0)
            assert sink.packets() == {"class-0": 50}
            assert sink.backlog() == 0

    @BOTH
    @FAMILIES
    @pytest.mark.parametrize(
        "loss", [Bernoulli(0.1), Bernoulli(0.3, 0.4), GilbertElliott(0.05, 0.3), EveryNth(7)], ids=lambda m: repr(m)[:9]
    )
    def test_exactly_the_seeds_packets_are_lost(self, world, direction, family, loss):
        flow, impairment = Flow(world, direction, family), Impairment(loss=loss)
        with world.impaired(impairment, [(flow.match, ("stage",))], direction) as sink:
            flow.send(1000)
            left = [number for number, copies in enumerate(fates(impairment, 1000)) if copies]
            assert flow.numbers() == left
            assert 0 < len(left) < 1000
            seen = sink.read()["stage"]
            assert (seen.passed, seen.dropped) == (len(left), 1000 - len(left))

    @BOTH
    def test_duplicates(self, world, direction):
        flow, impairment = Flow(world, direction), Impairment(duplicate=Bernoulli(0.2))
        with world.impaired(impairment, [(flow.match, ("stage",))], direction) as sink:
            flow.send(500)
            wanted = [number for number, copies in enumerate(fates(impairment, 500)) for _ in copies]
            assert flow.numbers() == wanted
            assert sink.read()["stage"].duplicated == len(wanted) - 500 > 0

    @BOTH
    def test_corruption_flips_one_bit_behind_the_mac_header(self, world, direction):
        flow, impairment = Flow(world, direction), Impairment(corrupt=Bernoulli(0.5))
        flow.source.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK: the receiver sees what arrives
        with world.impaired(impairment, [(flow.match, ("stage",))], direction) as sink:
            for _ in range(400):
                flow.source.send(b"\x55" * 1000)
            arrived = [data for _, data in received(flow.target, QUIET)]
            flips = [sum((a ^ 0x55).bit_count() for a in data) for data in arrived if len(data) == 1000]
            hit = sum(corrupt for copies in fates(Impairment(corrupt=Bernoulli(0.5)), 400) for _, corrupt, _ in copies)
            assert set(flips) == {0, 1}
            assert sink.read()["stage"].corrupted == pytest.approx(hit, abs=5 * math.sqrt(400 / 2))
            assert flips.count(1) > 100

    def test_reordered_packets_go_first(self, world):
        flow = Flow(world)
        impairment = Impairment(delay=200 * MILLISECOND, reorder=Bernoulli(1.0), gap=5)
        with world.impaired(impairment, [(flow.match, ("stage",))]) as sink:
            flow.send(20)
            assert flow.numbers(1.0) == [4, 9, 14, 19] + [n for n in range(20) if n % 5 != 4]
            assert sink.read()["stage"].reordered == 4

    @pytest.mark.parametrize("ordered", [True, False])
    def test_jitter_reorders_unless_ordered(self, world, ordered):
        flow = Flow(world)
        impairment = Impairment(delay=50 * MILLISECOND, jitter=40 * MILLISECOND, ordered=ordered)
        with world.impaired(impairment, [(flow.match, ("stage",))]):
            flow.send(200)
            numbers = flow.numbers()
            assert sorted(numbers) == list(range(200))
            assert (numbers == list(range(200))) is ordered

    @BOTH
    def test_rate(self, world, direction):
        flow, rate = Flow(world, direction), Rate(8_000_000)
        with world.impaired(Impairment(rate=rate, limit=1000), [(flow.match, ("stage",))], direction):
            start = flow.send(200, size=958)  # 1,000 bytes with the headers
            stamps = [at for at, _ in received(flow.target, QUIET)]
            assert len(stamps) == 200
            assert all(at - start >= (n + 1) * packet_time(1000, rate) for n, at in enumerate(stamps))
            assert stamps[-1] - start < 3 * 200 * packet_time(1000, rate)

    def test_slots_let_packets_go_in_bursts(self, world):
        flow = Flow(world)
        slot = Slot(100 * MILLISECOND, 100 * MILLISECOND, packets=10)
        with world.impaired(Impairment(slot=slot), [(flow.match, ("stage",))]):
            start = flow.send(30)
            stamps = [at for at, _ in received(flow.target, 0.5)]
            assert len(stamps) == 30
            for burst in (1, 2):
                assert stamps[burst * 10] - start >= burst * 100 * MILLISECOND

    def test_a_full_queue_drops(self, world):
        flow = Flow(world)
        with world.impaired(Impairment(delay=300 * MILLISECOND, limit=10), [(flow.match, ("stage",))]) as sink:
            flow.send(50)
            assert flow.numbers(0.6) == list(range(10))
            assert sink.read()["stage"].dropped == 40

    @BOTH
    @FAMILIES
    def test_ecn_marks_instead_of_drops(self, world, direction, family):
        flow = Flow(world, direction, family)
        level, tos, receive, kind = (0, 1, 13, 1) if family == 4 else (41, 67, 66, 67)
        flow.target.setsockopt(level, receive, 1)
        flow.source.setsockopt(level, tos, 2)
        with world.impaired(Impairment(loss=Bernoulli(1.0), ecn=True), [(flow.match, ("stage",))], direction):
            flow.source.send(b"takes marks")
            data, control, _, _ = flow.target.recvmsg(100, 200)
            seen = next(value for at, what, value in control if (at, what) == (level, kind))
            assert (data, seen[0] & 3) == (b"takes marks", 3)
            flow.source.setsockopt(level, tos, 0)
            flow.source.send(b"does not")
            assert flow.numbers() == []


class TestClassesAndStages:
    def test_a_chain_of_two_stages(self, world):
        flow = Flow(world)
        stages = {"a": Impairment(delay=20 * MILLISECOND, loss=EveryNth(2)), "b": Impairment(delay=25 * MILLISECOND)}
        stages["b"] = replace(stages["b"], loss=EveryNth(5))
        with world.impaired(stages, [(flow.match, ("a", "b"))]) as sink:
            flow.send(100)
            delays = flow.delays()
            assert len(delays) == 40
            assert min(delays) >= 45 * MILLISECOND
            seen = sink.read()
            assert [(seen[name].passed, seen[name].dropped) for name in "ab"] == [(50, 50), (40, 10)]

    @BOTH
    def test_two_classes_share_one_rate(self, world, direction):
        one, other, rate = Flow(world, direction), Flow(world, direction), Rate(8_000_000)
        classes = [(one.match, ("link",)), (other.match, ("link",))]
        with world.impaired({"link": Impairment(rate=rate, limit=1000)}, classes, direction) as sink:
            start = one.send(50, size=958)
            other.send(50, size=958)
            last = max(at for flow in (one, other) for at, _ in received(flow.target, QUIET))
            assert last - start >= 100 * packet_time(1000, rate)
            assert sink.packets() == {"class-0": 50, "class-1": 50}
            assert sink.read()["link"].passed == 100

    @BOTH
    def test_classes_meet_their_own_stages_and_spared_ones_none(self, world, direction):
        slow, lost, spared, outside = (Flow(world, direction) for _ in range(4))
        classes = [(spared.match, ()), (slow.match, ("slow",)), (lost.match, ("lost",))]
        stages = {"slow": Impairment(delay=40 * MILLISECOND), "lost": Impairment(loss=Bernoulli(1.0))}
        with world.impaired(stages, classes, direction) as sink:
            for flow in (slow, lost, spared, outside):
                flow.send(10)
            assert min(slow.delays()) >= 40 * MILLISECOND
            assert lost.numbers() == []
            assert spared.numbers() == outside.numbers() == list(range(10))
            assert sink.packets() == {"class-1": 10, "class-2": 10}

    def test_sinks_with_the_same_stage_share_it_and_count_it_once(self, world):
        flow, stages = Flow(world), {"stage": Impairment(loss=EveryNth(2))}
        other, _ = world.sink(stages, [(flow.match, ("stage",))])
        with world.impaired(stages, [(flow.match, ("stage",))]) as sink:
            flow.send(10)
            assert flow.numbers() == [0, 2, 4, 6, 8]
            seen = [one.read()["stage"] for one in (other, sink)]
            assert [(one.passed, one.dropped) for one in seen] == [(0, 0), (5, 5)]
            assert {one.held for one in seen} == {sized(stages["stage"])}
            other.close()
            third, _ = world.sink(stages, [(flow.match, ("stage",))])
            flow.send(4)
            assert flow.numbers() == [0, 2]
            assert [one.read()["stage"].dropped for one in (sink, third)] == [5, 2]
            third.close()
            assert sink.read()["stage"].dropped == 7

    def test_what_is_held_is_read_back_from_the_worker(self, world):
        impairment = Impairment(
            delay=10 * MILLISECOND,
            jitter=MILLISECOND,
            table=named("pareto"),
            loss=GilbertElliott(0.1, 0.2),
            slot=Slot(delay=MILLISECOND, jitter=1000, table=named("normal")),
            limit=77,
        )
        with world.impaired(impairment) as sink:
            assert sink.read()["stage"].held == impairment
            changed = replace(impairment, table=named("normal"), rate=Rate(10**7))
            sink.hold("stage", changed)
            assert sink.read()["stage"].held == changed

    def test_probes_count_apart_and_draw_from_no_seed(self, world):
        flow, impairment = Flow(world), Impairment(loss=Bernoulli(0.5))
        raw = socket.SOCK_RAW
        with entered(world.pod):
            ping = socket.socket(socket.AF_INET, raw, socket.IPPROTO_ICMP)
        world.sockets.append(ping)
        match = Match(protocols=Ranges.of(ICMP, UDP))
        with world.impaired(impairment, [(match, ("stage",))]) as sink:
            for number in range(100):
                ping.sendto(echo(4, 1, number, len(COOKIE)), (PEER[4], 0))
                flow.send(1, first=number)
            assert flow.numbers() == [number for number, copies in enumerate(fates(impairment, 100)) if copies]
            assert sink.packets() == {"class-0": 100}
            seen = sink.read()["stage"]
            assert seen.passed + seen.dropped == 100


def transfer(world: Two, direction: Direction, size: int) -> bytes:
    """Send ``size`` random bytes by TCP; return what arrived, which must be all."""
    source, target = (world.pod, world.peer) if direction is EGRESS else (world.peer, world.pod)
    address = PEER[4] if direction is EGRESS else POD[4]
    listener = world.socket(target, 4, socket.SOCK_STREAM)
    listener.bind((address, 0))
    listener.listen()
    client = world.socket(source, 4, socket.SOCK_STREAM)
    client.connect(listener.getsockname())
    server = listener.accept()[0]
    data = os.urandom(1 << 20) * (size >> 20)

    def send() -> None:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    server.settimeout(30)
    seen = hashlib.sha256()
    with server:
        while chunk := server.recv(1 << 20):
            seen.update(chunk)
    thread.join()
    assert seen.digest() == hashlib.sha256(data).digest()
    return data


class TestSuperpackets:
    @BOTH
    def test_pass_whole_where_only_time_changes(self, world, direction):
        with world.impaired(Impairment(delay=MILLISECOND), direction=direction) as sink:
            transfer(world, direction, 16 << 20)
            assert sink.packets()["class-0"] < (16 << 20) / 1448 / 4

    @BOTH
    def test_one_percent_means_one_percent_of_packets(self, world, direction):
        with world.impaired(Impairment(loss=Bernoulli(0.01)), direction=direction) as sink:
            transfer(world, direction, 8 << 20)
            seen, packets = sink.read()["stage"], sink.packets()["class-0"]
            assert packets >= (8 << 20) / 1448
            assert abs(seen.dropped - packets / 100) < 5 * math.sqrt(packets * 0.01 * 0.99)

    def test_are_cut_from_the_change_on_that_asks_for_it(self, world):
        with world.impaired(Impairment(delay=MILLISECOND)) as sink:
            assert offloads.read(world.netlink.sock, sink.pair.near).tso
            sink.hold("stage", sized(Impairment(delay=MILLISECOND, loss=EveryNth(10**9))))
            before = sink.packets()["class-0"]
            transfer(world, EGRESS, 4 << 20)
            assert sink.packets()["class-0"] - before >= (4 << 20) / 1448
            sink.hold("stage", sized(Impairment(delay=MILLISECOND)))
            assert offloads.read(world.netlink.sock, sink.pair.near).tso


class TestOverload:
    def stopped(self, world, flow, count, size=16, delay=MILLISECOND):
        """What the worker says of packets that were sent while it could not run; (arrived, observed)."""
        with world.impaired(Impairment(delay=delay), [(flow.match, ("stage",))]) as sink:
            worker = world.engine.process.pid
            os.kill(worker, signal.SIGSTOP)
            try:
                flow.send(count, size)
                time.sleep((LATE + 2 * delay) / 1e9)  # not for something to happen: it is what "late" means
            finally:
                os.kill(worker, signal.SIGCONT)
            return len(flow.numbers()), sink.read()["stage"]

    def test_packets_that_leave_late_are_told_and_none_is_lost(self, world):
        arrived, seen = self.stopped(world, Flow(world), 50)
        assert (arrived, seen.passed, seen.lagged, seen.lost, seen.dropped) == (50, 50, 50, 0, 0)
        assert seen.late

    def test_packets_that_found_the_buffer_full_are_lost_not_dropped(self, world):
        count = 2 * RECEIVE_BUFFER // 2000  # frames of 1,400 bytes weigh more than 2,000
        arrived, seen = self.stopped(world, Flow(world), count, 1400)
        assert seen.lost > 0
        assert seen.passed + seen.lost == count
        assert (seen.dropped, seen.overloaded) == (0, True)
        assert arrived <= seen.passed  # the test's own buffer is smaller

    def test_where_buffers_are_limited_several_make_room_in_turn(self, world, monkeypatch):
        """Twice what one socket of an ordinary user holds, again and again: the kernel goes round the sockets."""

        def limited(sock, _force, ask, _size):
            sock.setsockopt(socket.SOL_SOCKET, ask, 212_992)
            return False

        monkeypatch.setattr(sockets, "_buffer", limited)
        flow, burst = Flow(world), 2 * 2 * 212_992 // 2304  # what the kernel reckons for a frame of 1,400 bytes
        with world.impaired(Impairment(), [(flow.match, ("stage",))]) as sink:
            worker = world.engine.process.pid
            for turn in range(1, 6):
                os.kill(worker, signal.SIGSTOP)
                flow.send(burst, 1400, first=(turn - 1) * burst)
                os.kill(worker, signal.SIGCONT)
                wait_until(lambda turn=turn: sink.read()["stage"].passed == turn * burst)
            assert flow.numbers() == list(range(5 * burst))
            assert sink.read()["stage"].lost == 0

    def test_packets_that_never_reach_the_worker_are_lost(self, world):
        flow = Flow(world)
        with world.impaired(Impairment(delay=MILLISECOND), [(flow.match, ("stage",))]) as sink:
            world.netlink.set_link(world.netlink.link(sink.pair.far).index, mtu=1000)
            flow.send(5, 1400)
            seen = sink.read()["stage"]
            assert (seen.passed, seen.lost) == (0, 5)

    @pytest.mark.parametrize("end", ["near", "far"])
    def test_a_sink_that_somebody_set_down_cannot_be_read(self, world, end):
        with world.impaired(Impairment(delay=MILLISECOND)) as sink:
            world.netlink.set_link(world.netlink.link(getattr(sink.pair, end)).index, up=False)
            with pytest.raises(OSError, match=sink.pair.near):
                sink.read()

    def test_a_device_that_takes_no_frame_loses_it(self, world):
        flow = Flow(world)
        with world.impaired(Impairment(delay=300 * MILLISECOND), [(flow.match, ("stage",))]) as sink:
            flow.send(3, 1400)
            world.netlink.set_link(world.eth0().index, mtu=1000)
            assert flow.numbers(1.0) == []
            assert sink.read()["stage"].lost == 3

    def test_a_link_that_is_down_loses_packets_without_us(self, world):
        flow = Flow(world)
        with world.impaired(Impairment(delay=300 * MILLISECOND), [(flow.match, ("stage",))]) as sink:
            flow.send(3)
            world.netlink.set_link(world.eth0().index, up=False)
            assert flow.numbers(1.0) == []
            seen = sink.read()["stage"]
            assert (seen.passed, seen.lost) == (3, 0)

    def test_a_burst_finds_room_in_a_queue_that_nobody_sized(self, world):
        """More at once than the engine can carry in the time of the delay, and than it could hold of old."""
        flow = Flow(world)
        with world.impaired(Impairment(delay=100 * MILLISECOND), [(flow.match, ("stage",))]) as sink:
            flow.send(18_000)
            wait_until(lambda: sink.read()["stage"].passed == 18_000)
            assert sink.read()["stage"].dropped == 0


def wait_until(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestLife:
    @BOTH
    def test_a_sink_takes_packets_as_soon_as_it_is_there(self, world, direction):
        flow = Flow(world, direction)
        for _ in range(10):
            with world.impaired(Impairment(delay=1), [(flow.match, ("stage",))], direction):
                flow.send(3)
                assert [len(flow.target.recv(100)) for _ in range(3)] == [16] * 3

    @BOTH
    def test_a_change_loses_and_reorders_nothing(self, world, direction):
        flow = Flow(world, direction)
        with world.impaired(Impairment(delay=30 * MILLISECOND), [(flow.match, ("stage",))], direction) as sink:
            thread = threading.Thread(target=flow.send, args=(600,), kwargs={"pause": 0.0005})
            thread.start()
            for delay in (5, 20, 1, 30):
                sink.hold("stage", sized(Impairment(delay=delay * MILLISECOND)))
                time.sleep(0.05)
            thread.join()
            assert flow.numbers() == list(range(600))

    def test_a_dead_worker_is_told(self, world):
        with world.impaired(Impairment(delay=MILLISECOND)) as sink:
            descriptor = sink.watch()
            assert not select.select([descriptor], [], [], 0)[0]
            os.kill(world.engine.process.pid, signal.SIGKILL)
            assert select.select([descriptor], [], [], 10)[0]
            for ask in (sink.read, sink.backlog, sink.packets):
                with pytest.raises(OSError, match=r"worker|Broken|reset"):
                    ask()
            with pytest.raises(OSError, match=r"worker|Broken|reset"):
                sink.hold("stage", sized(Impairment()))

    def test_nothing_is_left(self, world):
        before = (links(world), sorted(os.listdir("/proc/self/fd")))
        for _ in range(2):
            sinks = [world.sink({"s": Impairment(delay=1)}, direction=direction)[0] for direction in Direction]
            pid = world.engine.process.pid
            assert sum(is_ours(link.name, link.alias) for link in world.netlink.links()) == 4
            close(*sinks, *sinks)
            assert links(world) == before[0]
            world.spares.close()
            assert not Path(f"/proc/{pid}").exists()
            assert (links(world), sorted(os.listdir("/proc/self/fd"))) == before

    def test_packets_that_wait_go_with_their_sink_and_no_others(self, world):
        gone, kept = Flow(world), Flow(world, INGRESS)
        with world.impaired(Impairment(delay=300 * MILLISECOND), [(kept.match, ("stage",))], INGRESS) as sink:
            with world.impaired(Impairment(delay=300 * MILLISECOND), [(gone.match, ("stage",))]) as doomed:
                kept.send(10)
                gone.send(10)
                while not (doomed.backlog() == 10 and sink.backlog() == 10):
                    time.sleep(0.001)
            assert kept.numbers(0.8) == list(range(10))
            assert gone.numbers() == []

    def test_the_worker_dies_with_the_agent(self, world):
        read, write = os.pipe()
        agent = os.fork()
        if not agent:
            world.sink({"s": Impairment(delay=1)})
            os.write(write, struct.pack("i", world.engine.process.pid))
            signal.pause()
        worker = struct.unpack("i", os.read(read, 4))[0]
        pidfd = os.pidfd_open(worker)
        os.kill(agent, signal.SIGKILL)
        os.waitpid(agent, 0)
        assert select.select([pidfd], [], [], 10)[0]
        for descriptor in (read, write, pidfd):
            os.close(descriptor)

    def test_a_refusal_leaves_nothing(self, world):
        before = links(world)
        gone = replace(world.eth0(), name="eth9")
        world.eth0 = lambda: gone
        with pytest.raises(OSError, match="No such device"):
            world.sink({"s": Impairment(delay=1)})
        assert world.engine.process is None
        world.engine.endings.wait()
        assert links(world) == before

    def test_a_refusal_leaves_other_sinks_as_they_are(self, world):
        flow = Flow(world, INGRESS)
        with world.impaired(Impairment(delay=1), [(flow.match, ("stage",))], INGRESS) as kept:
            before, eth0 = links(world), world.eth0
            for refused in ({"mtu": 60}, {"name": "eth9"}):  # by the pair; by the sender, behind the pair
                world.eth0 = lambda refused=refused: replace(eth0(), **refused)
                with pytest.raises(OSError, match=r"Invalid argument|No such device"):
                    world.sink({"s": Impairment(delay=1)})
                world.engine.endings.wait()
                assert links(world) == before
            world.eth0 = eth0
            flow.send(5)
            assert flow.numbers() == list(range(5))
            assert kept.read()["stage"].passed == 5
            other, _ = world.sink({"s": Impairment(delay=2)})
            assert other.read()["s"].held.delay == 2
            close(other)

    def test_what_a_worker_refuses_of_what_it_was_told_is_raised_with_the_next_answer(self, world):
        with world.impaired(Impairment(delay=1)) as sink:
            process = world.engine.process
            process.tell("read", stages=[999])
            process.tell("backlog", sink=sink.number)
            with pytest.raises(OSError, match="KeyError: 999"):
                process.ask("packets", sink=sink.number)
            assert process.ask("backlog", sink=sink.number) == 0

    def test_an_answer_that_comes_too_late_is_not_taken_for_another(self, world):
        with world.impaired(Impairment(delay=1), [(Flow(world).match, ("stage",))]) as sink:
            process = world.engine.process
            process._control.settimeout(0.01)
            os.kill(process.pid, signal.SIGSTOP)
            with pytest.raises(TimeoutError):
                sink.packets()
            os.kill(process.pid, signal.SIGCONT)
            process._control.settimeout(10)
            assert sink.backlog() == 0
            assert sink.packets() == {"class-0": 0}

    def test_the_next_plan_gets_the_same_worker_without_anything_of_the_last(self, world):
        flow = Flow(world)
        with world.impaired(Impairment(delay=500 * MILLISECOND), [(flow.match, ("stage",))]) as doomed:
            worker = world.engine.process
            flow.send(10)
            while doomed.backlog() < 10:
                time.sleep(0.001)
        for _ in range(2):
            with world.impaired(Impairment(delay=30 * MILLISECOND), [(flow.match, ("stage",))]) as sink:
                assert world.engine.process is worker
                seen = sink.read()["stage"]
                assert (seen.passed, seen.backlog, sink.packets()) == (0, 0, {"class-0": 0})
                flow.send(10, first=100)
                assert flow.numbers() == list(range(100, 110))
                assert sink.read()["stage"].passed == 10

    def test_a_worker_that_hung_is_not_kept(self, world):
        with world.impaired(Impairment(delay=1)) as sink:
            process = world.engine.process
            process._control.settimeout(0.01)
            os.kill(process.pid, signal.SIGSTOP)
            with pytest.raises(TimeoutError):
                sink.packets()
        assert not Path(f"/proc/{process.pid}").exists()
        with world.impaired(Impairment(delay=1)):
            assert world.engine.process is not process

    def test_a_worker_that_has_refused_something_is_not_kept(self, world):
        with world.impaired(Impairment(delay=1)):
            process = world.engine.process
            process.tell("read", stages=[999])
        assert not Path(f"/proc/{process.pid}").exists()

    def test_an_interface_without_ethernet_is_refused(self, world):
        tun = replace(world.eth0(), name="tun0", mac="")
        world.eth0 = lambda: tun
        with pytest.raises(ImpairmentError, match=r"tun0.*profile-s"):
            world.sink({"s": Impairment(delay=1)})

    def test_fits(self, world):
        sink, classes = world.sink({"s": Impairment(delay=1)})
        assert sink.fits(classes, sink.stages)
        assert sink.fits(classes, {"s": replace(sink.stages["s"], profile="other")})
        assert not sink.fits(classes, {"s": replace(sink.stages["s"], seed=9)})
        assert not sink.fits([replace(classes[0], matches=())], sink.stages)
        close(sink)

    def test_the_pair_itself_says_nothing(self, world):
        with entered(world.pod), socket.socket(FAMILY[6], socket.SOCK_DGRAM) as probe:
            sink, _ = world.sink({"s": Impairment(delay=1)}, direction=INGRESS)
            names = Path("/proc/thread-self/net/if_inet6").read_text()
            assert probe
        assert sink.pair.near not in names
        assert sink.pair.far not in names
        close(sink)


def links(world: Two) -> list[str]:
    return sorted(link.name for link in world.netlink.links())
