"""The kernel engine on real traffic between two namespaces; ``tc`` is the independent reader.

Bounds on counts hold with a false-alarm rate below 1e-6: five standard deviations of the binomial distribution.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from namespaces import close

from pytest_k8s_netem.agent.dataplane import filters, names
from pytest_k8s_netem.agent.dataplane.kernel import KernelEngine, KernelSink
from pytest_k8s_netem.agent.dataplane.netlink import Netlink
from pytest_k8s_netem.agent.namespace import current, enter, entered, unshare
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.judge.rounding import differences
from pytest_k8s_netem.model.capabilities import Interface
from pytest_k8s_netem.model.impairment import (
    MILLISECOND,
    Bernoulli,
    EveryNth,
    FourState,
    GilbertElliott,
    Impairment,
    Rate,
    Slot,
)
from pytest_k8s_netem.model.match import UDP, Match
from pytest_k8s_netem.model.plan import Class, Direction, Stage
from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.model.tables import Table
from pytest_k8s_netem.model.timeline import Segment, Timeline

pytestmark = [pytest.mark.needs("root"), pytest.mark.needs("netem"), pytest.mark.needs("tc")]
EGRESS, INGRESS = Direction.EGRESS, Direction.INGRESS
COUNTED = Match(protocols=Ranges.of(UDP), remote_ports=Ranges.of(4001))
"""What :func:`send` sends, and nothing that a kernel says by itself."""
HERE, THERE = "10.66.0.1", "10.66.0.2"
LIMIT = 20_000
ETHERNET, MTU = 14, 1500
"""Bytes of a frame's header, and what it may carry."""
ETH_P_IP, SO_RCVBUFFORCE = 0x0800, 33


def fresh() -> int:
    home = current()
    unshare()
    made = current()
    enter(home)
    os.close(home)
    return made


@dataclass
class Bed:
    """Two namespaces joined by eth0 (near) and a far end; the sinks are near."""

    near: int
    far: int
    netlink: Netlink
    sockets: list[socket.socket] = field(default_factory=list)
    hooked: list[filters.Hooked] = field(default_factory=list)
    sinks: list[KernelSink] = field(default_factory=list)

    @property
    def eth0(self) -> Interface:
        return next(interface for interface in self.netlink.interfaces() if interface.name == "eth0")

    def udp(self, namespace: int, port: int = 0) -> socket.socket:
        with entered(namespace):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sockets.append(sock)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
        sock.bind((HERE if namespace == self.near else THERE, port))
        sock.settimeout(10)
        return sock

    def impair(
        self,
        stages: Mapping[str, Impairment],
        classes: Sequence[tuple[Match, tuple[str, ...]]] = (),
        direction: Direction = EGRESS,
    ) -> KernelSink:
        made = {name: stage(name, impairment, direction) for name, impairment in stages.items()}
        listed = listing(classes or [(Match(), tuple(stages))], direction)
        sink = KernelEngine(self.netlink).sink(self.eth0, direction, listed, made, stages)
        self.sinks.append(sink)
        redirects = {entry.id: sink.redirect(entry.id) for entry in listed if entry.stages}
        self.hooked.append(filters.install(self.netlink, self.eth0.index, direction, listed, redirects))
        return sink

    def tc(self, *command: str) -> Any:
        with entered(self.near):
            return json.loads(subprocess.run(["tc", "-j", *command], capture_output=True, check=True).stdout or "[]")

    def netems(self) -> list[dict[str, Any]]:
        return [qdisc for qdisc in self.tc("qdisc", "show") if qdisc["kind"] == "netem"]

    def close(self) -> None:
        for hooked in self.hooked:
            hooked.remove()
        close(*self.sinks)
        for sock in self.sockets:
            sock.close()
        self.netlink.close()


def stage(name: str, impairment: Impairment, direction: Direction = EGRESS) -> Stage:
    return Stage(name, f"profile-{name}", direction, Timeline.constant(impairment))


def listing(classes: Sequence[tuple[Match, tuple[str, ...]]], direction: Direction = EGRESS) -> list[Class]:
    return [Class(f"class-{at}", "eth0", direction, (match,), names) for at, (match, names) in enumerate(classes)]


@pytest.fixture
def bed() -> Iterator[Bed]:
    near, far = fresh(), fresh()
    with entered(near):
        netlink = Netlink.open()
        commands = f"link add eth0 index 11 type veth peer name far0\nlink set far0 netns /proc/self/fd/{far}\n"
        commands += f"addr add {HERE}/24 dev eth0\nlink set eth0 up\nlink set lo up\n"
        subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True, pass_fds=[far])
    with entered(far):
        commands = f"addr add {THERE}/24 dev far0\nlink set far0 up\nlink set lo up\n"
        subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)
    netlink.add_clsact(11)
    made = Bed(near, far, netlink)
    yield made
    made.close()
    os.close(near)
    os.close(far)


def round_trips(bed: Bed, count: int = 20, port: int = 4000) -> list[float]:
    """Milliseconds that datagrams take to the far side and back, one after the other."""
    here, there = bed.udp(bed.near), bed.udp(bed.far, port)
    found = []
    for _ in range(count):
        began = time.perf_counter()
        here.sendto(b"ping", (THERE, port))
        data, source = there.recvfrom(100)
        there.sendto(data, source)
        here.recv(100)
        found.append((time.perf_counter() - began) * 1000)
    here.close()
    there.close()
    return found


def send(bed: Bed, count: int, port: int = 4001) -> list[int]:
    """Numbers of the datagrams that arrive of ``count``, in order of arrival; ends when no sink holds any more."""
    here, there = bed.udp(bed.near), bed.udp(bed.far, port)
    for number in range(count):
        here.sendto(number.to_bytes(4, "big"), (THERE, port))
    found: list[int] = []
    there.settimeout(0.1)
    empty = False
    with here, there:
        while True:
            try:
                found.append(int.from_bytes(there.recv(100), "big"))
            except TimeoutError:
                if empty:
                    return found
                empty = not any(sink.backlog() for sink in bed.sinks)  # what it let go meanwhile is read once more


def within(count: int, of: int, p: float) -> bool:
    return abs(count - of * p) <= 5 * math.sqrt(of * p * (1 - p)) + 1


@pytest.mark.parametrize("direction", Direction)
def test_delay(bed: Bed, direction: Direction) -> None:
    sink = bed.impair({"slow": Impairment(delay=50 * MILLISECOND, limit=LIMIT)}, direction=direction)
    assert min(round_trips(bed)) >= 50
    assert sink.read()["slow"].passed >= 20
    assert [seen.packets >= 20 for seen in bed.hooked[0].read().values()] == [True]
    [netem] = bed.netems()
    assert netem["options"]["delay"]["delay"] == pytest.approx(0.05)


def test_unmatched_traffic_stays_fast(bed: Bed) -> None:
    only = Match(protocols=Ranges.of(UDP), remote_ports=Ranges.of(4100))
    sink = bed.impair({"slow": Impairment(delay=500 * MILLISECOND, limit=LIMIT)}, [(only, ("slow",))])
    assert min(round_trips(bed, port=4000)) < 500
    assert sink.read()["slow"].passed == 0
    assert min(round_trips(bed, 1, port=4100)) >= 500
    assert sink.read()["slow"].passed == 1


def test_spared_traffic_passes(bed: Bed) -> None:
    spared = Match(protocols=Ranges.of(UDP), remote_ports=Ranges.of(4000))
    sink = bed.impair({"slow": Impairment(delay=500 * MILLISECOND, limit=LIMIT)}, [(spared, ()), (Match(), ("slow",))])
    assert min(round_trips(bed)) < 500
    assert sink.read()["slow"].passed == 0


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_loss(bed: Bed, p: float) -> None:
    sink = bed.impair({"lossy": Impairment(loss=Bernoulli(p), limit=LIMIT)}, [(COUNTED, ("lossy",))])
    arrived = send(bed, 5000)
    assert within(5000 - len(arrived), 5000, p)
    seen = sink.read()["lossy"]
    assert (seen.passed, seen.dropped) == (len(arrived), 5000 - len(arrived))


def test_bursty_loss(bed: Bed) -> None:
    """Gilbert-Elliott that loses all in the bad state: 9.1 %; correlation widens the bound by (2-p-r)/(p+r)."""
    model = GilbertElliott(0.01, 0.1)
    bed.impair({"bursty": Impairment(loss=model, limit=LIMIT)})
    lost = 8000 - len(send(bed, 8000))
    deviation = math.sqrt(8000 * model.mean * (1 - model.mean) * (2 - 0.11) / 0.11)
    assert abs(lost - 8000 * model.mean) <= 6 * deviation


def test_a_blackhole_is_silent_and_complete(bed: Bed) -> None:
    bed.impair({"black": Impairment(loss=Bernoulli(1.0), limit=LIMIT)})
    assert send(bed, 500) == []


def test_duplicates(bed: Bed) -> None:
    bed.impair({"double": Impairment(duplicate=Bernoulli(0.2), limit=LIMIT)})
    assert within(len(send(bed, 4000)) - 4000, 4000, 0.2)


def test_nested_profiles_add_up(bed: Bed) -> None:
    inner = Match(protocols=Ranges.of(UDP), remote_ports=Ranges.of(4100))
    sink = bed.impair(
        {"a": Impairment(delay=20 * MILLISECOND, limit=LIMIT), "b": Impairment(delay=40 * MILLISECOND, limit=LIMIT)},
        [(inner, ("a", "b")), (Match(), ("a",))],
    )
    assert sink.redirect("class-0") == sink.redirect("class-1")
    plain, nested = round_trips(bed), round_trips(bed, port=4100)
    assert min(plain) >= 20
    assert min(nested) >= 60
    assert min(plain) < 60
    seen = sink.read()
    assert seen["a"].passed >= 40
    assert seen["b"].passed == 20
    assert sink.backlog() == 0


def test_what_the_inner_stage_drops_is_not_the_outers(bed: Bed) -> None:
    sink = bed.impair(
        {"a": Impairment(delay=MILLISECOND, limit=LIMIT), "b": Impairment(loss=Bernoulli(0.5), limit=LIMIT)},
        [(COUNTED, ("a", "b"))],
    )
    arrived = send(bed, 1000)
    seen = sink.read()
    assert (seen["a"].passed, seen["a"].dropped) == (1000, 0)
    assert (seen["b"].passed, seen["b"].dropped) == (len(arrived), 1000 - len(arrived))


def test_three_deep_and_branched(bed: Bed) -> None:
    quick = Impairment(delay=10 * MILLISECOND, limit=LIMIT)
    ports = [Match(protocols=Ranges.of(UDP), remote_ports=Ranges.of(port)) for port in (4100, 4101, 4102)]
    sink = bed.impair(
        {"a": quick, "b": quick, "c": quick, "d": quick},
        [(ports[0], ("a", "b", "c")), (ports[1], ("a", "b")), (ports[2], ("a", "d")), (Match(), ("a",))],
    )
    for port, stages in ((4100, 3), (4101, 2), (4102, 2), (4103, 1)):
        assert min(round_trips(bed, 5, port=port)) >= stages * 10
    assert {name: seen.passed for name, seen in sink.read().items() if name != "a"} == {"b": 10, "c": 5, "d": 5}


def test_a_change_loses_and_reorders_nothing(bed: Bed) -> None:
    sink = bed.impair({"slow": Impairment(delay=5 * MILLISECOND, limit=LIMIT)})
    here, there = bed.udp(bed.near), bed.udp(bed.far, 4001)
    for number in range(3000):
        if number % 300 == 150:
            sink.hold("slow", Impairment(delay=(5 + number // 300) * MILLISECOND, limit=LIMIT))
        here.sendto(number.to_bytes(4, "big"), (THERE, 4001))
    assert [int.from_bytes(there.recv(100), "big") for _ in range(3000)] == list(range(3000))
    assert sink.read()["slow"].held.delay == 14 * MILLISECOND


TABLE = Table("steps", tuple(range(-8192, 8192, 64)))
FIELDS = [
    Impairment(delay=123_456_789, jitter=1_234_567, delay_corr=0.25, limit=77),
    Impairment(delay=600 * 10**9, limit=5),
    Impairment(delay=10**8, jitter=10**7, table=TABLE, limit=10),
    Impairment(loss=Bernoulli(0.123, 0.4), ecn=True, limit=10),
    Impairment(loss=GilbertElliott(0.1, 0.2, 0.9, 0.05), limit=10),
    Impairment(loss=FourState(p13=0.1, p31=0.2, p32=0.3, p23=0.4, p14=0.05), limit=10),
    Impairment(duplicate=Bernoulli(0.2, 0.3), limit=10),
    Impairment(corrupt=Bernoulli(0.2, 0.3), limit=10),
    Impairment(delay=10**6, reorder=Bernoulli(0.25, 0.5), limit=10),
    Impairment(delay=10**6, reorder=Bernoulli(0.25, 0.5), gap=5, limit=10),
    Impairment(rate=Rate(8_000, 14, 53, 5), limit=10),
    Impairment(rate=Rate(40_000_000_000, -4), limit=10),
    Impairment(slot=Slot(10**6, 2 * 10**6, 3, 4000), limit=10),
    Impairment(slot=Slot(delay=10**7, jitter=10**6, packets=3, table=TABLE), limit=10),
    Impairment(slot=Slot(delay=10**7), limit=10),
    Impairment(limit=10),
]


@pytest.mark.parametrize("impairment", FIELDS, ids=lambda impairment: "+".join(impairment.changed_fields()))
def test_every_field_is_held_and_cleared(bed: Bed, impairment: Impairment) -> None:
    sink = bed.impair({"s": impairment})
    assert differences(impairment, sink.read()["s"].held) == []
    sink.hold("s", Impairment(limit=9))
    assert differences(Impairment(limit=9), sink.read()["s"].held) == []
    sink.hold("s", impairment)
    assert differences(impairment, sink.read()["s"].held) == []


def test_a_foreign_change_is_seen(bed: Bed) -> None:
    sink = bed.impair({"s": Impairment(delay=10**7, limit=10)})
    device = bed.netlink.link(sink.redirect("class-0")).name
    bed.tc("qdisc", "change", "dev", device, "root", "netem", "delay", "20ms", "limit", "10")
    assert differences(Impairment(delay=10**7, limit=10), sink.read()["s"].held) == [("delay", 10**7, 2 * 10**7)]


@pytest.mark.parametrize("command", ["ip link del dev", "ip link set down dev", "tc qdisc del root dev"])
def test_a_broken_device_holds_nothing(bed: Bed, command: str) -> None:
    sink = bed.impair({"s": Impairment(delay=10**7, limit=10)})
    with entered(bed.near):
        subprocess.run([*command.split(), bed.netlink.link(sink.redirect("class-0")).name], check=True)
    assert sink.read()["s"].held == Impairment()


def test_tables_shape_the_jitter_and_can_be_left(bed: Bed) -> None:
    """A table of two values far apart gives two delays; the uniform one after it gives all between."""
    two = Table("two", (-8192, 8192))
    wide = Impairment(delay=30 * MILLISECOND, jitter=20 * MILLISECOND, table=two, limit=LIMIT)
    sink = bed.impair({"s": wide})
    between = [trip for trip in round_trips(bed, 30) if 20 < trip < 40]
    sink.hold("s", replace(wide, table=None))
    # Of 60 uniform draws none within the middle half: 0.5 ** 60; of the table's, none but by a late scheduler.
    assert len(between) < 15
    assert [trip for trip in round_trips(bed, 60) if 20 < trip < 40]


def test_loss_acts_on_packets_not_on_superpackets(bed: Bed) -> None:
    """TCP over a sink that loses: each segment is counted, none is longer at the peer than the MTU allows."""
    sink = bed.impair({"s": Impairment(delay=MILLISECOND, loss=Bernoulli(0.01), limit=LIMIT)})
    with entered(bed.far):
        server = socket.create_server((THERE, 4005))
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
    bed.sockets.append(tap)
    tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
    tap.bind(("far0", ETH_P_IP))
    tap.setblocking(False)
    with entered(bed.near):
        client = socket.socket()
    client.connect((THERE, 4005))
    accepted, _ = server.accept()
    accepted.settimeout(30)
    bed.sockets += [server, client, accepted]
    total, left = 4_000_000, 4_000_000
    client.setblocking(False)
    sent = 0
    while left:
        with contextlib.suppress(BlockingIOError):
            sent += client.send(bytes(min(65536, total - sent))) if sent < total else 0
        left -= len(accepted.recv(1 << 20))
    lengths = []
    with contextlib.suppress(BlockingIOError):
        while True:
            lengths.append(tap.recv_into(bytearray(1), 0, socket.MSG_TRUNC))
    assert len(lengths) >= total / 1448
    assert max(lengths) <= ETHERNET + MTU
    seen = sink.read()["s"]
    packets = seen.passed + seen.dropped
    assert packets >= total / 1448
    assert within(seen.dropped, packets, 0.01)


def test_closing_leaves_nothing(bed: Bed) -> None:
    before = {link.name for link in bed.netlink.links()}
    sink = bed.impair({"a": Impairment(limit=10), "b": Impairment(loss=Bernoulli(0.1), limit=10)}, direction=INGRESS)
    assert {link.name for link in bed.netlink.links() if link.alias == names.ALIAS} == {
        link.name for link in bed.netlink.links()
    } - before
    bed.hooked.pop().remove()
    close(sink, sink)
    assert {link.name for link in bed.netlink.links()} == before
    assert bed.netems() == []


def refused(bed: Bed, stages: Mapping[str, Impairment], classes: Sequence[tuple[Match, tuple[str, ...]]]) -> str:
    before = bed.netlink.links()
    made = {name: stage(name, impairment) for name, impairment in stages.items()}
    with pytest.raises(ImpairmentError) as caught:
        KernelEngine(bed.netlink).sink(bed.eth0, EGRESS, listing(classes), made, stages)
    assert bed.netlink.links() == before
    return str(caught.value)


def test_a_stage_with_a_queue_cannot_stand_in_two_places(bed: Bed) -> None:
    slow, plain = Impairment(rate=Rate(10**6), limit=10), Impairment(delay=5, limit=10)
    chains = [(Match(local_ports=Ranges.of(1)), ("a", "b")), (Match(), ("b",))]
    message = refused(bed, {"a": plain, "b": slow}, chains)
    assert "profile-a" in message
    assert "profile-b" in message
    sink = bed.impair({"a": slow, "b": plain}, chains)
    assert sink.redirect("class-0") != sink.redirect("class-1")
    sink.hold("b", Impairment(delay=9 * MILLISECOND, limit=10))
    assert {qdisc["options"]["delay"]["delay"] for qdisc in bed.netems() if "delay" in qdisc["options"]} == {0.009}


def test_duplicates_beside_another_profile(bed: Bed) -> None:
    twice, plain = Impairment(duplicate=Bernoulli(0.5), limit=10), Impairment(delay=5, limit=10)
    assert "duplicates packets" in refused(bed, {"a": plain, "b": twice}, [(Match(), ("a", "b"))])
    said = ""
    try:
        bed.impair({"a": twice, "b": plain})
    except ImpairmentError as error:  # not every kernel refuses it
        said = str(error)
    assert bool(said) == (len(bed.netems()) == 0)
    assert not said or ("profile-a.duplicate" in said and "this kernel" in said)


@pytest.mark.parametrize(
    ("impairment", "name"),
    [
        (Impairment(loss=EveryNth(3), limit=5), "profile-s.loss"),
        (Impairment(jitter=5, ordered=True, limit=5), "profile-s.ordered"),
        (Impairment(jitter=2**31, limit=5), "profile-s.jitter"),
    ],
)
def test_what_netem_cannot_do_is_named(bed: Bed, impairment: Impairment, name: str) -> None:
    assert name in refused(bed, {"s": impairment}, [(Match(), ("s",))])


def fitting(bed: Bed, change: Callable[[dict[str, Stage], list[Class]], None]) -> bool:
    stages = {"a": Impairment(delay=5, limit=10), "b": Impairment(delay=5, limit=10)}
    chains = [(Match(remote_ports=Ranges.of(1)), ("a", "b")), (Match(), ("a",))]
    sink = bed.impair(stages, chains)
    made, listed = {name: stage(name, impairment) for name, impairment in stages.items()}, listing(chains)
    change(made, listed)
    return sink.fits(listed, made)


def test_what_a_sink_can_go_on_to_hold(bed: Bed) -> None:
    def slower(made: dict[str, Stage], listed: list[Class]) -> None:
        made["a"] = stage("a", Impairment(delay=10**9, rate=Rate(8000), limit=7))

    def lossy(made: dict[str, Stage], listed: list[Class]) -> None:
        later = Timeline((Segment(5, Impairment(limit=7)), Segment(None, Impairment(loss=Bernoulli(0.1), limit=7))))
        made["b"] = replace(made["b"], timeline=later)

    def shorter(made: dict[str, Stage], listed: list[Class]) -> None:
        listed[0] = replace(listed[0], stages=("a",))

    def other(made: dict[str, Stage], listed: list[Class]) -> None:
        listed[0] = replace(listed[0], matches=(Match(remote_ports=Ranges.of(2)),))

    def reseeded(made: dict[str, Stage], listed: list[Class]) -> None:
        made["a"] = replace(made["a"], seed=7)

    changes = (lambda made, listed: None, slower, lossy, shorter, other, reseeded)
    assert [fitting(bed, change) for change in changes] == [True, True, False, False, False, False]
