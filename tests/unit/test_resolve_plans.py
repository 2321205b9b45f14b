"""Plans as wholes: once a packet, stable under foreign changes, probes that a right system always answers."""

from __future__ import annotations

import copy
import math
import statistics
from dataclasses import replace
from itertools import product

import clusters as c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_k8s_netem.model.fate import Fate
from pytest_k8s_netem.model.impairment import (
    MILLISECOND,
    SECOND,
    Bernoulli,
    EveryNth,
    GilbertElliott,
    Impairment,
    Rate,
)
from pytest_k8s_netem.model.match import ICMP, TCP, UDP
from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.model.sizing import sized
from pytest_k8s_netem.model.tables import Table, named
from pytest_k8s_netem.model.timeline import Segment, Timeline
from pytest_k8s_netem.profile.trafficprofile import Rule, Side, TrafficProfile
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.affected import affected
from pytest_k8s_netem.resolve.expected import addresses, expected, first_class, path, request
from pytest_k8s_netem.resolve.index import Index
from pytest_k8s_netem.resolve.outcome import of_impairment
from pytest_k8s_netem.resolve.resolve import resolve
from pytest_k8s_netem.resolve.rules import taken

HOP = 100 * MILLISECOND
WEB, DB = c.pod("web", 1, app="web"), c.pod("db", 2, app="db")


def profile(name: str = "p", **fields) -> TrafficProfile:
    return TrafficProfile(name, **{"pods": c.ALL, **fields})


def check(world, pod: str = "default/web", at: str = "p/egress"):
    return next(one for one in resolve(pod, world).plan.checks if one.id == at)


@given(c.worlds(), st.sampled_from((ICMP, TCP, UDP)), c.port_numbers, c.port_numbers)
@settings(max_examples=200, deadline=None)
def test_a_packet_meets_a_profile_at_most_once_and_at_its_sender_if_that_side_takes_it(world, protocol, port, client):
    index = Index(world)
    for a, b in product(index.live, repeat=2):
        pair = addresses(objects.pod_addresses(index.live[a]), objects.pod_addresses(index.live[b]))
        if a == b or not pair:
            continue
        family, mine, remote = pair[0]
        out = request(family, remote, protocol, port, client)
        sent, received, *_ = path(index, a, b, mine, out).legs
        at_sender = {stage.partition("/")[0] for stage in sent.stages}
        at_receiver = {stage.partition("/")[0] for stage in received.stages}
        assert not at_sender & at_receiver
        for name in at_receiver:
            impairs_sender = a in {key for key in index.live if name in names_on(index, key)}
            assert not (impairs_sender and any(m.takes(out) for m in taken(index, name, Direction.EGRESS)))


def names_on(index: Index, key: str) -> set[str]:
    return {stage.profile for stage in resolve(key, index).plan.stages if stage.direction is Direction.EGRESS}


def change(draw, world):
    """One thing that a watch may report; returns the changed world."""
    after = copy.copy(world)
    for table in ("pods", "services", "profiles", "targets", "nodes"):
        setattr(after, table, dict(getattr(world, table)))
    match draw(st.sampled_from(("pod gone", "pod new", "labels", "phase", "service", "profile", "target", "node"))):
        case "pod gone":
            after.pods.pop(draw(st.sampled_from(sorted(world.pods))))
        case "pod new":
            after.pods["default/new"] = c.pod("new", 7, app=draw(c.apps))
            after.targets["default/new"] = c.FACTS
        case "labels":
            key = draw(st.sampled_from(sorted(world.pods)))
            meta = {**world.pods[key]["metadata"], "labels": {"app": draw(c.apps)}}
            after.pods[key] = {**world.pods[key], "metadata": meta}
        case "phase":
            key = draw(st.sampled_from(sorted(world.pods)))
            status = {**world.pods[key]["status"], "phase": draw(st.sampled_from(("Pending", "Failed")))}
            after.pods[key] = {**world.pods[key], "status": status}
        case "service":
            app = draw(c.apps)
            after.services[f"default/{app}"] = c.service(app, "10.96.0.60", {"port": draw(c.port_numbers)}, app=app)
        case "profile":
            after.profiles["p0"] = draw(c.profiles("p0"))
        case "target":
            after.targets.pop(draw(st.sampled_from(sorted(world.pods))))
        case "node":
            after.nodes["node-1"] = {"status": {"addresses": [{"address": "172.18.0.9"}]}}
    return after


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_pods_that_are_not_affected_keep_equal_plans(data):
    before = data.draw(c.worlds())
    after = change(data.draw, before)
    old, new = Index(before), Index(after)
    moved = affected(old, new)
    for key in before.pods.keys() | after.pods.keys():
        if key not in moved:
            assert resolve(key, old).plan == resolve(key, new).plan
            assert resolve(key, old).plan.digest == resolve(key, new).plan.digest


def test_a_foreign_change_affects_nobody():
    web, other = c.pod("web", 1, app="web"), c.pod("other", 5, app="other")
    selective = profile(pods=c.labelled(app="web"), egress=c.side(Rule(peers=(c.labelled(app="db"),))))
    before = c.world(web, DB, profiles=(selective,))
    after = c.world(web, DB, other, profiles=(selective,))
    assert affected(before, after) == frozenset()
    grown = c.world(web, DB, c.pod("db-2", 6, app="db"), profiles=(selective,))
    assert affected(before, grown) == {"default/web"}


def test_a_plan_does_not_depend_on_the_order_of_the_worlds_tables():
    pods = [c.pod(name, n, app="web") for n, name in enumerate("abc", 1)]
    both = profile(egress=c.side(), ingress=c.side())
    assert resolve("default/a", c.world(*pods, profiles=(both,))) == resolve(
        "default/a", c.world(*reversed(pods), profiles=(both,))
    )


def test_a_bare_delay_on_all_pods_adds_twice_itself_and_a_pair_is_described_leg_by_leg():
    world = c.world(WEB, DB, profiles=(profile(egress=c.side()),))
    seen = expected("default/web", "default/db", world)
    assert seen.rtt == (2 * HOP, 2 * HOP, 2 * HOP)
    assert [leg.stages for leg in seen.legs] == [("p/egress",), (), ("p/egress",), ()]


def test_expected_asks_for_the_conversation_meant():
    world = c.world(WEB, DB, profiles=(profile(pods=c.labelled(app="web"), egress=c.side(Rule(ports=(c.tcp(5432),)))),))
    assert expected("default/web", "default/db", world).rtt[1] == 0
    assert expected("default/web", "default/db", world, protocol=TCP, port=5432).rtt[1] == HOP
    assert expected("default/db", "default/web", world, protocol=TCP, client_port=5432).rtt[1] == HOP


def test_expected_loss_of_both_ways():
    lossy = c.side(impairment=Impairment(loss=Bernoulli(0.1)))
    assert expected(
        "default/web", "default/db", c.world(WEB, DB, profiles=(profile(egress=lossy),))
    ).loss == pytest.approx(0.19)


def test_a_probe_is_sent_to_a_live_remote_and_bounds_the_round_trip():
    found = check(c.world(WEB, DB, profiles=(profile(pods=c.labelled(app="web"), egress=c.side()),)))
    assert (found.kind, found.address) == ("icmp", "10.0.0.2")
    assert HOP - MILLISECOND < found.rtt_min < HOP
    assert (found.answers_min, found.met_min) == (1, found.count)
    assert found.count * found.interval + found.timeout <= 300 * MILLISECOND + 2 * HOP


def test_both_ends_count_if_the_remote_is_impaired_too():
    found = check(c.world(WEB, DB, profiles=(profile(egress=c.side()),)))
    assert 2 * HOP - MILLISECOND < found.rtt_min < 2 * HOP


def test_a_probe_prefers_a_remote_that_nothing_impairs():
    aside = c.pod("aside", 8, app="x")
    world = c.world(
        WEB, DB, aside, profiles=(profile(pods=replace(c.ALL, exceptions=(c.labelled(app="x"),)), egress=c.side()),)
    )
    assert check(world).address == "10.0.0.8"


@pytest.mark.parametrize(("at", "local"), [("remote", False), ("local", True)])
def test_ports_are_probed_by_tcp_from_the_right_end(at, local):
    world = c.world(
        WEB, DB, profiles=(profile(pods=c.labelled(app="web"), egress=c.side(Rule(ports=(c.tcp(5432, at=at),)))),)
    )
    found = check(world)
    assert (found.kind, found.port, found.local_port) == ("tcp", 5432, local)


@pytest.mark.parametrize(
    ("pods", "rule"),
    [
        ([WEB], Rule()),
        ([WEB, {**DB, "status": {**DB["status"], "phase": "Pending"}}], Rule()),
        ([WEB, DB], Rule(protocols=c.Ranges.of(UDP))),
        ([WEB, DB], Rule(peers=(c.cidr(192, 168, 0, 0, 16),))),
    ],
)
def test_where_no_packet_fits_read_back_alone_is_promised(pods, rule):
    assert check(c.world(*pods, profiles=(profile(egress=c.side(rule)),))).kind == "read-back"


def test_a_node_that_is_named_is_probed():
    found = check(c.world(WEB, profiles=(profile(egress=c.side(Rule(peers=(c.ref("node", "node-1"),)))),)))
    assert (found.kind, found.address) == ("icmp", c.NODE_V4)


@pytest.mark.parametrize("verify", ["none", "read-back"])
def test_verify_chooses_how_much_is_proven(verify):
    plan = resolve("default/web", c.world(WEB, DB, profiles=(profile(egress=c.side(), verify=verify),))).plan
    assert {one.kind for one in plan.checks} == ({"read-back"} if verify == "read-back" else set())


def lossy(loss, **fields) -> TrafficProfile:
    return profile(pods=c.labelled(app="web"), egress=c.side(impairment=Impairment(loss=loss, **fields)))


def test_total_loss_allows_no_answer_and_rare_loss_is_not_probed_as_a_share():
    total = check(c.world(WEB, DB, profiles=(lossy(Bernoulli(1.0)),)))
    assert (total.answers_min, total.answers_max, total.met_min) == (0, 0, total.count)
    rare = check(c.world(WEB, DB, profiles=(lossy(Bernoulli(0.01)),)))
    assert (rare.answers_min, rare.answers_max) == (1, rare.count)


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_a_share_worth_seeing_is_seen(p):
    found = check(c.world(WEB, DB, profiles=(lossy(Bernoulli(p)),)))
    assert found.answers_max < found.count, "a sink that passes everything is caught"
    assert found.count * found.interval + found.timeout <= 300 * MILLISECOND


@pytest.mark.parametrize(
    "impairment",
    [
        Impairment(loss=GilbertElliott(0.1, 0.3)),
        Impairment(loss=Bernoulli(0.5, correlation=0.5)),
        Impairment(loss=EveryNth(2)),
        Impairment(loss=GilbertElliott(1.0, 0.0)),
    ],
)
def test_loss_with_a_memory_bounds_nothing(impairment):
    found = check(
        c.world(WEB, DB, profiles=(profile(pods=c.labelled(app="web"), egress=c.side(impairment=impairment)),))
    )
    assert (found.answers_min, found.answers_max, found.met_min) == (0, found.count, found.count)


@pytest.mark.parametrize(
    ("impairment", "low"),
    [
        (Impairment(delay=HOP, jitter=HOP // 10), HOP * 9 // 10),
        (Impairment(delay=HOP, jitter=2 * HOP), 0),
        (Impairment(delay=HOP, jitter=HOP // 8, table=Table("own", (-8192 * 4, 0, 8192))), HOP // 2),
        (Impairment(delay=HOP, reorder=Bernoulli(0.25)), 0),
        (Impairment(delay=HOP, rate=Rate(1_000_000)), HOP + 320_000),
    ],
)
def test_the_soonest_answer_reckons_with_all_that_may_shorten_a_delay(impairment, low):
    world = c.world(WEB, DB, profiles=(profile(pods=c.labelled(app="web"), egress=c.side(impairment=impairment)),))
    assert expected("default/web", "default/db", world).rtt[0] == low
    assert max(0, low - MILLISECOND) <= check(world).rtt_min <= max(0, low - 1)


@pytest.mark.parametrize("table", [None, named("normal"), named("pareto")], ids=["uniform", "normal", "pareto"])
@pytest.mark.parametrize("jitter", [5, 10, 40])
def test_the_delay_on_average_is_that_of_many_packets(table, jitter):
    """A draw below nothing is no delay, so a jitter above the delay lifts the mean."""
    impairment = sized(Impairment(delay=10 * MILLISECOND, jitter=jitter * MILLISECOND, table=table))
    fate = Fate(impairment, 7)
    waits = [due - at for at in range(0, 20_000 * SECOND, SECOND) for due, _, _ in fate.decide(at, 100)]
    bound = 5 * statistics.pstdev(waits) / math.sqrt(len(waits))  # the seed is fixed; else a false alarm below 6e-7
    assert abs(statistics.fmean(waits) - of_impairment(impairment).mean) <= bound


def test_bounds_hold_in_every_segment_of_a_timeline():
    timeline = Timeline(
        (Segment(1000, c.DELAYED), Segment(1000, Impairment(delay=HOP // 2, loss=Bernoulli(1.0)))), True
    )
    found = check(c.world(WEB, DB, profiles=(profile(pods=c.labelled(app="web"), egress=Side((Rule(),), timeline)),)))
    assert (found.answers_min, found.answers_max) == (0, found.count)
    assert found.rtt_min < HOP // 2
    ends = replace(timeline, repeat=False)
    found = check(c.world(WEB, DB, profiles=(profile(pods=c.labelled(app="web"), egress=Side((Rule(),), ends)),)))
    assert found.rtt_min == 0


def test_an_ingress_that_nothing_can_reach_is_read_back():
    black = c.side(impairment=Impairment(loss=Bernoulli(1.0)))
    world = c.world(WEB, DB, profiles=(profile(pods=c.labelled(app="web"), egress=black, ingress=black),))
    assert check(world, at="p/egress").kind == "icmp"
    assert check(world, at="p/ingress").kind == "read-back"


@given(c.worlds())
@settings(max_examples=100, deadline=None)
def test_a_check_is_of_a_packet_that_falls_in_its_class(world):
    index = Index(world)
    for key in index.live:
        plan = resolve(key, index).plan
        assert {one.id for one in plan.checks} == {stage.id for stage in plan.stages}
        for one in plan.checks:
            found = next(each for each in plan.classes if each.id == one.class_id)
            assert one.id in found.stages
            if one.kind == "read-back" or found.direction is Direction.INGRESS:
                continue
            family, number = objects.address(one.address)
            ports = (9, one.port) if one.local_port else (one.port, 50000)
            packet = request(family, number, TCP if one.kind == "tcp" else ICMP, *ports)
            assert first_class(index_classes(plan), packet) == found


def index_classes(plan):
    return tuple(one for one in plan.classes if one.direction is Direction.EGRESS)


def test_limits_are_sized_and_seeds_differ_by_pod_and_direction_and_repeat_in_another_namespace():
    seeded = profile(egress=c.side(), ingress=c.side(Rule(peers=(c.cidr(1, 1, 1, 0, 24),))), seed=7)
    world = c.world(WEB, DB, profiles=(seeded,))
    stages = [stage for pod in world.pods for stage in resolve(pod, world).plan.stages]
    assert all(stage.timeline.only.limit >= 1000 for stage in stages)
    assert len({stage.seed for stage in stages}) == 4
    elsewhere = c.world(c.pod("web", 1, namespace="other", app="web"), profiles=(seeded,))
    assert resolve("other/web", elsewhere).plan.stages[0].seed == resolve("default/web", world).plan.stages[0].seed


def facts(*engines, interfaces=(c.LO, c.ETH0)):
    return c.TargetFacts(c.Capabilities("6.1", engines), interfaces)


KERNEL = c.EngineCapability("kernel", True, refuses=("ordered",))
USERSPACE = c.EngineCapability("userspace", True, refuses=("ecn",))


@pytest.mark.parametrize(
    ("asked", "impairment", "taken", "refused"),
    [
        ("auto", c.DELAYED, "kernel", []),
        ("userspace", c.DELAYED, "userspace", []),
        ("auto", replace(c.DELAYED, jitter=1, ordered=True), "userspace", []),
        ("kernel", replace(c.DELAYED, jitter=1, ordered=True), "kernel", ["ordered"]),
        ("auto", replace(c.DELAYED, ordered=True, ecn=True), "kernel", ["ordered"]),
    ],
)
def test_the_engine_is_the_one_asked_or_one_that_can(asked, impairment, taken, refused):
    world = c.world(WEB, profiles=(profile(engine=asked, egress=c.side(impairment=impairment)),))
    world.targets["default/web"] = facts(KERNEL, USERSPACE)
    result = resolve("default/web", world)
    assert result.plan.engine == taken
    assert [problem.path for problem in result.problems.get("p", ())] == [f"p.{name}" for name in refused]
    assert result.plan.empty is bool(refused)


def test_two_engines_on_one_pod_refuse_the_second_profile():
    world = c.world(
        WEB,
        profiles=(profile("a", engine="kernel", egress=c.side()), profile("b", engine="userspace", egress=c.side())),
    )
    result = resolve("default/web", world)
    assert result.plan.engine == "kernel"
    assert list(result.problems) == ["b"]
    assert {stage.profile for stage in result.plan.stages} == {"a"}


ETH1 = replace(c.ETH0, name="eth1", index=3, default=False)


@pytest.mark.parametrize(
    ("pattern", "interfaces", "wanted"),
    [
        ("", (c.LO, ETH1, c.ETH0), "eth0"),
        ("eth", (ETH1, c.ETH0), "eth0"),
        ("eth1", (c.ETH0, ETH1), "eth1"),
        ("th", (c.ETH0,), None),
        ("(", (c.ETH0,), None),
        ("", (c.LO, ETH1), "eth1"),
        ("", (replace(c.ETH0, default=False), ETH1), None),
    ],
)
def test_the_interface_is_the_default_routes_or_the_first_that_the_expression_takes(pattern, interfaces, wanted):
    world = c.world(WEB, profiles=(profile(interface=pattern, egress=c.side()),))
    world.targets["default/web"] = facts(KERNEL, interfaces=interfaces)
    result = resolve("default/web", world)
    if wanted is None:
        assert [problem.path for problem in result.problems["p"]] == ["interface"]
    else:
        assert {one.interface for one in result.plan.classes} == {wanted}


def test_a_probe_is_not_planned_on_an_interface_that_cluster_traffic_does_not_take():
    world = c.world(WEB, DB, profiles=(profile(interface="eth1", egress=c.side()),))
    world.targets["default/web"] = facts(KERNEL, interfaces=(c.ETH0, ETH1))
    assert check(world).kind == "read-back"


@pytest.mark.parametrize("missing", ["pods", "targets", "profiles"])
def test_nothing_known_is_an_empty_plan(missing):
    world = c.world(WEB, profiles=(profile(egress=c.side()),))
    setattr(world, missing, {})
    assert resolve("default/web", world).plan.empty
