"""The whole agent, as its own process, on real namespaces and packets; iproute2 and ping are the judges."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import agentkit as kit
import pytest
from network_state import without_clsact

from pytest_k8s_netem.agent.capabilities import probe
from pytest_k8s_netem.model.frames import MAX_FRAME
from pytest_k8s_netem.model.impairment import MILLISECOND, SECOND, Bernoulli, Impairment, Rate
from pytest_k8s_netem.model.match import ICMP, ICMPV6, IPV4, TCP, Match
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import Check, Class, Direction, Plan, Stage
from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.model.timeline import Segment, Timeline
from pytest_k8s_netem.model.wire import CHECK, OBSERVED

pytestmark = pytest.mark.needs("root", "tc", "ping")

ECHOES = Match(protocols=Ranges.of(ICMP, ICMPV6))
EGRESS, INGRESS = Direction.EGRESS, Direction.INGRESS


@pytest.fixture
def spaces() -> Iterator[tuple[Any, Any]]:
    with kit.pod_and_peer() as found:
        yield found


@pytest.fixture
def pod(spaces: tuple[Any, Any]) -> Any:
    return spaces[0]


@pytest.fixture
def peer(spaces: tuple[Any, Any]) -> Any:
    return spaces[1]


@pytest.fixture
def agent(pod: Any) -> Iterator[Any]:
    found = kit.Agent()
    try:
        found.target("pod", pod)
        yield found
    finally:
        found.close()


def slow(ms: float, **more: Any) -> Impairment:
    return Impairment(delay=round(ms * MILLISECOND), limit=1000, **more)


def lossy() -> Impairment:
    return slow(50, loss=Bernoulli(0.01), rate=Rate(50_000_000))


def plan_of(
    engine: str,
    impairment: Impairment | Timeline,
    *directions: Direction,
    match: Match = ECHOES,
    **more: Any,
) -> Plan:
    """One profile on eth0, in the given directions."""
    timeline = impairment if isinstance(impairment, Timeline) else Timeline.constant(impairment)
    directions = directions or (EGRESS,)
    return Plan(
        "pod",
        engine=engine,
        classes=tuple(Class(f"c-{d.value}", "eth0", d, (match,), (f"s-{d.value}",)) for d in directions),
        stages=tuple(Stage(f"s-{d.value}", "p", d, timeline) for d in directions),
        **more,
    )


def fastest(space: Any, address: str = "10.9.0.2") -> float:
    """The fastest of some echoes, ms: never faster than the delay, whatever the machine's load."""
    answers, rtts = space.ping(address)
    assert answers
    return float(min(rtts))


@pytest.mark.parametrize("direction", Direction)
def test_a_plan_delays_what_it_matches_and_heals(agent: Any, pod: Any, engine: str, direction: Direction) -> None:
    owner = agent.owner()
    before = pod.state()
    seen = owner.impose(plan_of(engine, slow(60), direction))
    assert (seen.engine, seen.baseline, seen.interfaces) == (engine, False, ("eth0",))
    assert all(entry.held for _name, entry in seen.classes)
    assert dict(seen.stages)[f"s-{direction.value}"].held.delay == pytest.approx(60 * MILLISECOND, abs=1000)
    for address in ("10.9.0.2", "fd09::2"):
        assert 60 <= fastest(pod, address) < 90
    seen = owner.observed("observe", target="pod")
    assert dict(seen.classes)[f"c-{direction.value}"].packets >= 10
    healed = owner.observed("heal", target="pod")
    assert (healed.baseline, healed.residue, healed.healed_by) == (True, (), "request")
    assert fastest(pod) < 60
    after = pod.state()
    assert [q["kind"] for q in after["qdiscs"]].count("clsact") == 1
    assert without_clsact(after) == before
    assert agent.end() == 0
    assert pod.state() == before


def test_what_is_not_matched_stays_fast(agent: Any, pod: Any, engine: str) -> None:
    match = Match(protocols=Ranges.of(ICMP), remote=PeerSet.from_networks([(4, 0x0A090063, 32)]))
    agent.owner().impose(plan_of(engine, slow(500), match=match))
    assert fastest(pod) < 500


@pytest.mark.parametrize("direction", Direction)
def test_more_addresses_than_a_program_holds(agent: Any, pod: Any, engine: str, direction: Direction) -> None:
    """5,000 scattered ones: several programs, or a flower filter each where the kernel has that."""
    strangers = random.Random(6).sample(range(11 << 24, 12 << 24), 5000)
    before = pod.state()
    owner = agent.owner()
    for at, (met, last) in enumerate(((True, 0x0A090002), (False, 0x0A090063), (True, 0x0A090002))):
        match = Match(ether_types=Ranges.of(IPV4), remote=PeerSet(Ranges.of(*strangers, last)))
        owner.impose(plan_of(engine, slow(60 + at), direction, match=match))
        assert (fastest(pod) >= 60) == met
        by_address = " flower " in pod.sh(f"tc filter show dev eth0 {direction.value}")
        assert by_address == ("flower" in probe().classifiers)
    assert owner.observed("heal", target="pod").residue == ()
    assert without_clsact(pod.state()) == before
    assert agent.end() == 0
    assert pod.state() == before


def test_parameters_change_in_place(agent: Any, pod: Any, engine: str) -> None:
    owner = agent.owner()
    owner.impose(plan_of(engine, slow(20)))
    before = pod.state()["links"]
    assert fastest(pod) >= 20
    owner.impose(plan_of(engine, slow(80)))
    assert fastest(pod) >= 80
    assert pod.state()["links"] == before


def test_a_check_sees_the_delay_and_never_counts(agent: Any, pod: Any, engine: str) -> None:
    peer = PeerSet.from_networks([(4, 0x0A090002, 32), (6, 0xFD09 << 112 | 2, 128)])
    match = Match(protocols=Ranges.of(ICMP, ICMPV6, TCP), remote=peer)
    checks = tuple(
        Check(name, "p", "c-egress", kind, address, port=port, local_port=local, count=3, timeout=5 * SECOND)
        for name, kind, address, port, local in (
            ("v4", "icmp", "10.9.0.2", 0, False),
            ("v6", "icmp", "fd09::2", 0, False),
            ("tcp4", "tcp", "10.9.0.2", 80, False),
            ("tcp6", "tcp", "fd09::2", 80, True),
        )
    )
    owner = agent.owner()
    owner.impose(plan_of(engine, slow(40), match=match, checks=checks))
    seen = owner.observed("probe", target="pod")
    assert {result.id for result in seen.checks} == {"v4", "v6", "tcp4", "tcp6"}
    for result in seen.checks:
        assert (result.sent, result.answered, result.met, result.error) == (3, 3, 3, "")
        assert min(result.rtts) >= 40 * MILLISECOND
    assert dict(seen.classes)["c-egress"].packets == 0
    assert dict(seen.stages)["s-egress"].passed == 0
    pod.ping("10.9.0.2", 4)
    echo = Check("mine", "p", "c-egress", "icmp", "10.9.0.2", count=5, timeout=5 * SECOND)
    seen = agent.guest().observed("probe", target="pod", checks=[CHECK.encode(echo)])
    assert [(result.id, result.met) for result in seen.checks] == [("mine", 5)]
    assert dict(seen.classes)["c-egress"].packets == 4


def test_a_test_loses_no_packet_from_its_count_while_a_change_is_proven(agent: Any, pod: Any, engine: str) -> None:
    def echo(profile: str, class_id: str) -> Check:
        return Check(profile, profile, class_id, "icmp", "10.9.0.2", count=3, timeout=5 * SECOND)

    pings = Match(protocols=Ranges.of(ICMP))  # a young namespace has ICMPv6 of its own to tell
    owner = agent.owner()
    first = plan_of(engine, slow(5), match=pings, checks=(echo("p", "c-egress"),))
    owner.impose(first)
    owner.ok("probe", target="pod")
    pod.ping("10.9.0.2", 4)
    delay = Timeline.constant(slow(1))
    answer = owner.prepare(
        replace(
            first,
            classes=(*first.classes, Class("c-ingress", "eth0", INGRESS, (pings,), ("s-new",))),
            stages=(*first.stages, Stage("s-new", "new", INGRESS, delay)),
            checks=(*first.checks, echo("new", "c-ingress")),
            _digest=[],
        )
    )
    pod.ping("10.9.0.2", 2)
    answer = owner.ok("commit", target="pod", digest=answer["ok"]["prepared"])
    before = OBSERVED.decode(answer["last"])
    assert dict(before.classes)["c-egress"].packets == 6
    pod.ping("10.9.0.2", 3)
    seen = owner.observed("probe", target="pod")
    assert {result.met for result in seen.checks} == {3}
    classes = dict(seen.classes)
    assert classes["c-egress"].packets == 3, "of the profile under test, less what was probed"
    assert classes["c-ingress"].packets == 0, "the new one's test has not begun"
    pod.ping("10.9.0.2", 2)
    classes = dict(owner.observed("observe", target="pod").classes)
    assert (classes["c-egress"].packets, classes["c-ingress"].packets) == (5, 2)


def test_a_probe_is_met_by_nothing_where_the_filter_takes_something_else(agent: Any, engine: str) -> None:
    check = Check("x", "p", "c-egress", "icmp", "10.9.0.2", count=3, timeout=5 * SECOND, size=1400)
    owner = agent.owner()
    owner.impose(plan_of(engine, slow(40), match=Match(protocols=Ranges.of(TCP)), checks=(check,)))
    (result,) = owner.observed("probe", target="pod").checks
    assert (result.answered, result.met) == (3, 0)


def test_an_explicit_probe_needs_no_plan(agent: Any, pod: Any) -> None:
    check = Check("x", "", "", "icmp", "10.9.0.2", count=50, interval=2 * MILLISECOND, timeout=5 * SECOND)
    gone = Check("y", "", "", "icmp", "10.9.0.77", count=1, timeout=SECOND // 10)
    odd = Check("z", "", "", "icmp", "not an address", count=1)
    seen = agent.guest().observed("probe", target="pod", checks=[CHECK.encode(c) for c in (check, gone, odd)])
    assert [(result.sent, result.answered) for result in seen.checks[:2]] == [(50, 50), (1, 0)]
    assert statistics.median(seen.checks[0].rtts) > 0
    assert seen.checks[2].error


def test_loss_takes_all(agent: Any, pod: Any, engine: str) -> None:
    owner = agent.owner()
    owner.impose(plan_of(engine, Impairment(loss=Bernoulli(1.0), limit=1000)))
    assert pod.ping("10.9.0.2", 3)[0] == 0
    owner.ok("heal", target="pod")
    assert pod.ping("10.9.0.2", 3)[0] == 3


def test_a_timeline_moves_on_and_a_duration_ends(agent: Any, pod: Any, engine: str) -> None:
    owner = agent.owner()
    timeline = Timeline((Segment(SECOND // 5, slow(5)), Segment(None, slow(70))))
    owner.impose(plan_of(engine, timeline, durations=(("p", 1.5),)))
    assert owner.event("segment")["index"] == 1
    assert fastest(pod) >= 70
    event = owner.event("healed")
    assert event["cause"] == "duration"
    assert OBSERVED.decode(event["observed"]).baseline


def test_a_lease_that_nobody_renews_heals(agent: Any, pod: Any, engine: str) -> None:
    owner = agent.owner()
    owner.impose(plan_of(engine, slow(50), EGRESS, INGRESS, ttl=0.5))
    owner.ok("renew", ttl=1.0)
    assert owner.event("healed")["cause"] == "ttl"
    assert owner.observed("observe", target="pod").healed_by == "ttl"
    assert fastest(pod) < 50


def test_the_end_of_the_owners_stream_heals(agent: Any, pod: Any, engine: str) -> None:
    owner, guest = agent.owner(), agent.guest()
    owner.impose(plan_of(engine, slow(50)))
    owner.close()
    assert guest.event("healed")["cause"] == "session"
    assert fastest(pod) < 50
    agent.owner("another").impose(plan_of(engine, slow(30)))
    assert fastest(pod) >= 30


def test_a_killed_worker_takes_the_filters_off(agent: Any, pod: Any) -> None:
    owner = agent.owner()
    owner.impose(plan_of("userspace", slow(50), EGRESS, INGRESS))
    worker = agent.worker()
    os.kill(worker, signal.SIGKILL)
    event = owner.event("healed")
    assert event["cause"] == "worker"
    assert OBSERVED.decode(event["observed"]).baseline
    assert fastest(pod) < 50
    owner.impose(plan_of("userspace", slow(30)))
    assert fastest(pod) >= 30


def test_a_new_agent_removes_what_a_killed_one_left(agent: Any, pod: Any, engine: str) -> None:
    before = pod.state()
    agent.owner().impose(plan_of(engine, slow(50), EGRESS, INGRESS))
    agent.process.kill()
    agent.process.wait()
    assert pod.state() != before
    again = kit.Agent()
    try:
        again.target("pod", pod)
        assert again.guest().observed("observe", target="pod").baseline
        assert fastest(pod) < 50
        assert again.end() == 0
        assert pod.state() == before
    finally:
        again.close()


@pytest.mark.parametrize("end", ["request", "lease", "agent"])
def test_an_old_agent_takes_nothing_of_a_new_one_along(agent: Any, pod: Any, engine: str, end: str) -> None:
    """A killed run's agent can live until its lease ends, when the next run has impaired the same pod already."""
    before = pod.state()
    old = agent.owner()
    old.impose(plan_of(engine, slow(50), EGRESS, INGRESS, ttl=60.0 if end == "lease" else None))
    new = kit.Agent()
    try:
        new.target("pod", pod)
        owner = new.owner("another")
        owner.impose(plan_of(engine, slow(40), EGRESS, INGRESS))
        if end == "request":
            old.ok("heal", target="pod")
        elif end == "lease":
            old.ok("renew", ttl=0.1)  # over only now, however long the new one took to start
            old.event("healed")
        else:
            assert agent.end() == 0
        seen = owner.observed("observe", target="pod")
        assert [entry.held for _name, entry in seen.classes] == [True, True]
        for address in ("10.9.0.2", "fd09::2"):
            assert fastest(pod, address) >= 80
        healed = owner.observed("heal", target="pod")
        assert (healed.baseline, healed.residue) == (True, ())
        assert fastest(pod) < 80
        assert new.end() == 0
        assert pod.state() == before
    finally:
        new.close()


def test_a_hook_that_an_old_agent_takes_along_is_made_anew(agent: Any, pod: Any, engine: str) -> None:
    """It made the hook, and leaves when the new one has prepared a plan and has no filter there yet."""
    before = pod.state()
    old = agent.owner()
    old.impose(plan_of(engine, slow(50)))
    old.ok("heal", target="pod")
    new = kit.Agent()
    try:
        new.target("pod", pod)
        owner, plan = new.owner("another"), plan_of(engine, slow(40), EGRESS, INGRESS)
        assert "ok" in owner.prepare(plan)
        assert agent.end() == 0
        owner.ok("commit", target="pod", digest=plan.digest)
        assert fastest(pod) >= 80
        assert new.end() == 0
        assert pod.state() == before
    finally:
        new.close()


def test_a_hung_agents_lease_ends_when_it_goes_on(agent: Any, pod: Any, engine: str) -> None:
    """Nobody can heal meanwhile, and the impairment holds; then the lease is over, whatever was said in between."""
    owner = agent.owner()
    owner.impose(plan_of(engine, slow(50), ttl=1.0))
    agent.process.send_signal(signal.SIGSTOP)
    time.sleep(1.5)  # the lease itself is what is waited for
    assert fastest(pod) >= 50
    agent.process.send_signal(signal.SIGCONT)
    event = owner.event("healed")
    assert event["cause"] == "ttl"
    assert OBSERVED.decode(event["observed"]).baseline
    assert fastest(pod) < 50
    owner.impose(plan_of(engine, slow(30)))
    assert fastest(pod) >= 30


@pytest.mark.parametrize("end", ["sigterm", "admin", "forget"])
@pytest.mark.parametrize("impairment", [slow(50), lossy()], ids=["delay", "loss"])
def test_whatever_ends_the_agent_the_namespace_is_as_before(
    pod: Any, engine: str, end: str, impairment: Impairment
) -> None:
    """Loss is where a sink needs other offloads than a delay does."""
    before = pod.state()
    agent = kit.Agent()
    try:
        agent.target("pod", pod)
        agent.owner().impose(plan_of(engine, impairment, EGRESS, INGRESS))
        assert pod.state() != before
        if end == "sigterm":
            agent.process.terminate()
            assert agent.process.wait(kit.PATIENCE) == 0
        elif end == "admin":
            assert agent.end() == 0
        else:
            agent.admin.ok("forget", target="pod")
        assert pod.state() == before
        assert fastest(pod) < 50
    finally:
        agent.close()


def test_other_peoples_qdiscs_and_filters_stay(agent: Any, pod: Any, engine: str) -> None:
    pod.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
    pod.run(
        *[
            "tc",
            "filter",
            "add",
            "dev",
            "eth0",
            "egress",
            "prio",
            "7",
            "protocol",
            "ip",
            "u32",
            "match",
            "u32",
            "0",
            "0",
            "classid",
            "1:1",
        ]
    )
    pod.run(
        *[
            "tc",
            "qdisc",
            "add",
            "dev",
            "eth0",
            "root",
            "handle",
            "5:",
            "tbf",
            "rate",
            "1gbit",
            "burst",
            "64k",
            "latency",
            "50ms",
        ]
    )
    before = pod.state()
    again = kit.Agent()
    try:
        again.target("pod", pod)
        owner = again.owner()
        seen = owner.impose(plan_of(engine, slow(10)))
        assert "eth0: tbf at root" in seen.foreign
        assert "eth0: u32 at egress, priority 7" in seen.foreign
        again.end()
        assert pod.state() == before
    finally:
        again.close()


def two_sides(engine: str) -> Plan:
    """A plan that cannot go on with another one's sinks."""
    stages = tuple(Stage(f"n-{d.value}", "p", d, Timeline.constant(slow(80))) for d in Direction)
    sides = [(name, d) for name in ("eth0", "odd0") for d in Direction]
    classes = tuple(Class(f"{name}-{d.value}", name, d, (ECHOES,), (f"n-{d.value}",)) for name, d in sides)
    return Plan("pod", engine=engine, classes=classes, stages=stages)


@pytest.mark.parametrize("step", ["prepare", "commit"])
def test_a_refusal_half_way_changes_nothing(agent: Any, pod: Any, engine: str, step: str) -> None:
    """The last interface takes no clsact, since it has an ingress qdisc; or it vanishes before the commit."""
    owner, good, bad = agent.owner(), plan_of(engine, slow(50)), two_sides(engine)
    owner.impose(good)
    if step == "commit":
        before = pod.state()
    pod.sh("ip link add odd0 type veth peer name odd1")
    pod.sh("ip link set odd0 up")
    pod.sh("ip link set odd1 up")
    kit.wait_for("a carrier", lambda: "state UP" in pod.sh("ip link show odd0"))
    if step == "prepare":
        pod.sh("tc qdisc add dev odd0 ingress")
        before = pod.state()
        assert "somebody's ingress qdisc" in str(owner.prepare(bad))
    else:
        assert "ok" in owner.prepare(bad)
        pod.sh("ip link del odd0")
        assert "refused to commit" in owner.refused("commit", target="pod", digest=bad.digest)
    assert pod.state() == before
    assert owner.observed("observe", target="pod").plan == good.digest
    assert fastest(pod) >= 50


def test_a_hung_worker_takes_the_filters_off(agent: Any, pod: Any) -> None:
    owner = agent.owner()
    owner.impose(plan_of("userspace", slow(50)))
    worker = agent.worker()
    os.kill(worker, signal.SIGSTOP)
    assert owner.event("healed")["cause"] == "worker"
    assert fastest(pod) < 50
    assert agent.children() == []


def test_a_carrier_goes_down_and_comes_back(agent: Any, pod: Any, peer: Any) -> None:
    owner = agent.owner()
    owner.impose(Plan("pod", carrier=("eth0",)))
    assert "NO-CARRIER" in peer.run("ip", "link", "show", "eth0")
    assert owner.observed("heal", target="pod").baseline
    kit.wait_for("a path", lambda: pod.ping("10.9.0.2", 1)[0])


def test_one_identity_owns_and_a_higher_epoch_takes_over(agent: Any, pod: Any, engine: str) -> None:
    first = agent.owner("a", 1)
    first.impose(plan_of(engine, slow(40)))
    assert "busy" in agent.session().refused("hello", role="owner", identity="b", epoch=5)
    assert "busy" in agent.session().refused("hello", role="owner", identity="a", epoch=0)
    second = agent.owner("a", 2)
    assert first.event("deposed")["epoch"] == 2
    while first.read(kit.PATIENCE):
        pass
    assert first.ended
    assert fastest(pod) >= 40
    second.ok("heal", target="pod")


def test_garbage_is_answered_and_the_stream_goes_on(agent: Any) -> None:
    owner = agent.owner()
    for data in (b"\xff\xfe\x00\n", b"[1]\n", b"x" * (MAX_FRAME + 10) + b"\n", b'{"op":"observe","target":1}\n'):
        owner.frames.clear()
        owner.sock.sendall(data)
        assert owner.until("an answer", lambda frame: "problems" in frame)["id"] is None
    owner.ok("observe", target="pod")


def test_one_agent_serves_two_targets_apart(agent: Any, pod: Any, peer: Any, engine: str) -> None:
    agent.target("peer", peer)
    owner = agent.owner()
    assert set(agent.session().ok("hello", role="guest")["targets"]) == {"pod", "peer"}
    owner.impose(plan_of(engine, slow(30)))
    owner.impose(replace(plan_of(engine, slow(40)), target="peer", _digest=[]))
    assert fastest(pod) >= 70
    owner.ok("heal", target="pod")
    assert 40 <= fastest(pod) < 70
    agent.admin.ok("forget", target="peer")
    assert fastest(pod) < 40
    assert owner.event("target")["target"] == "peer"
    assert "no such target" in owner.refused("observe", target="peer")


def test_nothing_is_left_open(agent: Any, pod: Any, engine: str) -> None:
    def descriptors() -> Counter[str]:
        folder, found = f"/proc/{agent.process.pid}/fd", Counter[str]()
        for fd in os.listdir(folder):
            with suppress(FileNotFoundError):  # closed meanwhile
                found[os.readlink(f"{folder}/{fd}").partition(":")[0]] += 1
        return found

    def round_trip() -> None:
        owner = agent.owner()
        check = Check("x", "p", "c-egress", "icmp", "10.9.0.2", count=1, timeout=SECOND)
        owner.impose(plan_of(engine, slow(1), EGRESS, INGRESS, checks=(check,)))
        owner.ok("probe", target="pod")
        owner.ok("heal", target="pod")
        owner.close()

    agent.guest()  # it has been answered, so all that a start opens is closed again; it stays to the end
    before = descriptors()
    for _ in range(4):
        round_trip()
    kit.wait_for(f"just {before}", lambda: descriptors() == before and not agent.children())


def test_a_session_that_never_reads_costs_nobody_else(agent: Any) -> None:
    lazy = agent.guest()
    lazy.sock.setblocking(False)
    sent = 0
    try:
        while sent < 64 << 20:
            sent += lazy.sock.send(b'{"op":"observe","target":"pod"}\n' * 100)
    except (BlockingIOError, BrokenPipeError, ConnectionResetError):
        pass
    agent.guest().ok("observe", target="pod")


CONFINED = ("setpriv", "--no-new-privs", "--bounding-set", "-all,+net_admin,+net_raw")
"""What a container of ours may do."""


def test_the_agent_in_a_container_outlives_its_relays(pod: Any, engine: str, tmp_path: Path) -> None:
    before, path = pod.state(), str(tmp_path / "keeper")
    program = [sys.executable, "-I", "-S", str(kit.alone(tmp_path))]
    keep = pod.enter(*CONFINED, *program, "keep", "--socket", path)
    keeper = subprocess.Popen(keep, env={**os.environ, "NETEM_TARGET": "pod"})
    lines = []

    def relay(epoch: int) -> Any:
        near, far = socket.socketpair()
        process = subprocess.Popen([*program, "relay", "--socket", path], stdin=far, stdout=far)
        far.close()
        line = kit.Line(near)
        lines.append((line, process))
        line.ok("hello", role="owner", identity="c", epoch=epoch)
        return line

    try:
        first = relay(1)
        first.impose(plan_of(engine, slow(40), ttl=30))
        lines[0][1].kill()
        lines[0][1].wait()
        assert fastest(pod) >= 40
        second = relay(1)
        assert second.observed("observe", target="pod").plan == plan_of(engine, slow(40)).digest
        again = subprocess.run([*program, "keep", "--socket", path], capture_output=True, text=True, check=False)
        assert again.returncode == 1
        assert "in use" in again.stderr
        second.ok("renew", ttl=0.2)
        assert second.event("healed")["cause"] == "ttl"
        keeper.terminate()
        assert keeper.wait(kit.PATIENCE) == 0
        assert lines[1][1].wait(kit.PATIENCE) == 0
        assert pod.state() == before
        assert not os.path.exists(path)
    finally:
        keeper.kill()
        keeper.wait()
        for line, process in lines:
            line.close()
            process.kill()
            process.wait()


def test_a_gate_opens_for_whoever_has_read_the_addresses(pod: Any, tmp_path: Path) -> None:
    """As the kubelet and the controller start its two sides in a pod's sidecar."""
    program, file = [sys.executable, "-I", "-S", str(kit.alone(tmp_path))], tmp_path / "ready"
    waiting = subprocess.Popen(pod.enter(*CONFINED, *program, "wait", "--file", str(file), "--within", "600"))
    attend = pod.enter(*CONFINED, *program, "attend", "--file", str(file))
    try:
        gone = subprocess.run(attend, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
        assert not file.exists(), "who asked is gone and has told of no plan"
        assert waiting.poll() is None
        told = {one["name"]: one for one in json.loads(gone.stdout)}
        assert {"10.9.0.1", "fd09::1"} <= {*told["eth0"]["addresses"]}
        subprocess.run(attend, input="\n", stdout=subprocess.DEVNULL, text=True, check=True)
        assert waiting.wait(kit.PATIENCE) == 0
    finally:
        waiting.kill()
        waiting.wait()


def test_a_gate_opens_by_itself(tmp_path: Path) -> None:
    program = [sys.executable, "-I", "-S", str(kit.PROGRAM)]
    wait = [*program, "wait", "--file", str(tmp_path / "ready"), "--within", "1"]
    subprocess.run(wait, check=True, timeout=kit.PATIENCE)


def test_an_idle_agent_ends_by_itself_but_never_with_a_plan_in_force(pod: Any, tmp_path: Path) -> None:
    before, path = pod.state(), str(tmp_path / "keeper")
    program = [sys.executable, "-I", "-S", str(kit.alone(tmp_path))]
    keeper = subprocess.Popen(pod.enter(*CONFINED, *program, "keep", "--socket", path, "--idle", "1"))
    line = None
    try:
        kit.wait_for("a socket", lambda: os.path.exists(path))
        line = kit.Line(socket.socket(socket.AF_UNIX))
        kit.wait_for("a keeper", lambda: line.sock.connect_ex(path) == 0)
        line.ok("hello", role="owner", identity="c", epoch=1)
        line.impose(replace(plan_of("userspace", slow(40), ttl=3), target="self", _digest=[]))
        line.close()
        assert fastest(pod) >= 40
        assert keeper.poll() is None
        assert keeper.wait(kit.PATIENCE) == 0
        assert pod.state() == before
    finally:
        keeper.kill()
        keeper.wait()
        if line is not None:
            line.close()


def test_the_shipped_set_alone_answers_hello(tmp_path: Path) -> None:
    program = kit.alone(tmp_path)
    agent = kit.Agent(program)
    try:
        said = agent.session().ok("hello", role="guest")
        assert said["agent"] == "pytest-k8s-netem"
        assert said["capabilities"]["engines"]
        mapped = Path(f"/proc/{agent.process.pid}/cmdline").read_text()
        assert str(program) in mapped
    finally:
        agent.close()


LARGE = {
    "collections",
    "contextlib",
    "dataclasses",
    "enum",
    "functools",
    "re",
    "runpy",
    "selectors",
    "signal",
    "socket",
}


def test_a_hello_needs_no_large_module_of_the_standard_library() -> None:
    """Each takes longer to load than most of ours; -X importtime names what is loaded, by the child that tries too."""
    near, far = socket.socketpair()
    argv = [sys.executable, "-X", "importtime", "-I", "-S", str(kit.PROGRAM), "keep", "--admin-fd", str(far.fileno())]
    process = subprocess.Popen(argv, pass_fds=[far.fileno()], stderr=subprocess.PIPE, text=True)
    far.close()
    admin = kit.Line(near)
    ours, theirs = socket.socketpair()
    admin.ok("session", theirs.fileno())
    line = kit.Line(ours)
    assert line.ok("hello", role="guest")["capabilities"]["engines"]
    for sock in (theirs, line, admin):
        sock.close()
    assert process.stderr is not None
    loaded = {words.rpartition("|")[2].strip() for words in process.stderr.read().splitlines()}
    process.stderr.close()
    assert process.wait(kit.PATIENCE) == 0
    assert {"pytest_k8s_netem.agent.keeper", "pytest_k8s_netem.agent.trials"} <= loaded
    assert loaded.isdisjoint(LARGE)


def test_a_wrong_command_line_is_told() -> None:
    tried = subprocess.run(
        [sys.executable, "-I", "-S", str(kit.PROGRAM), "serve"], capture_output=True, text=True, check=False
    )
    assert (tried.returncode, tried.stdout) == (2, "")
    assert "usage" in tried.stderr
