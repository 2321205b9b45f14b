"""A marker's arguments: each sentence of the contract about who, where and what."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.model.impairment import Bernoulli, Impairment
from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.profile.arguments import KNOWN, blackhole, from_arguments, merge, partition, profile_of
from pytest_k8s_netem.profile.describe import describe, describe_impairment
from pytest_k8s_netem.profile.parse import parse
from pytest_k8s_netem.profile.selectors import EVERYWHERE
from pytest_k8s_netem.profile.trafficprofile import (
    Block,
    LabelSelector,
    Operator,
    Port,
    Ref,
    RefKind,
    Requirement,
    Rule,
    Selection,
)
from pytest_k8s_netem.profile.vocabulary import build

MS = 10**6


def app(name):
    return LabelSelector((Requirement("app", Operator.IN, (name,)),))


def made(**arguments):
    """The profile, by way of the object that travels."""
    obj = from_arguments(arguments, name="netem", namespace="ns")
    profile = parse(obj)
    assert profile == profile_of(arguments, name="netem", namespace="ns")
    return profile


def refused(**arguments):
    with pytest.raises(ConfigError) as error:
        from_arguments(arguments, name="netem", namespace="ns")
    return str(error.value)


def peers(side):
    return side and side.rules[0].peers


DB = (Selection((app("db"),), names=("ns",)),)
WEB = (Selection((app("web"),), names=("ns",)),)


def test_the_readmes_marker():
    profile = made(delay="100ms", jitter="10ms", loss="1%", pods="app=web", to="app=db", ports="tcp/5432")
    assert (profile.name, profile.order, profile.seed) == ("netem", (), None)
    assert profile.pods == WEB[0]
    assert profile.ingress is None
    assert profile.egress.rules == (Rule(peers=DB, ports=(Port(6, Ranges.of(5432), side="either"),)),)
    assert profile.egress.timeline.only == Impairment(delay=100 * MS, jitter=10 * MS, loss=Bernoulli(0.01))


def test_without_pods_every_pod_of_the_namespace():
    assert made(delay="1ms").pods == Selection((LabelSelector(),), names=("ns",))


def test_direction_is_egress_unless_said():
    profile = made(delay="1ms")
    assert profile.egress.rules == (Rule(),)
    assert profile.ingress is None


@pytest.mark.parametrize(
    ("arguments", "egress", "ingress"),
    [
        ({"to": "app=db"}, DB, None),
        ({"from_": "app=web"}, None, WEB),
        ({"to": "app=db", "from_": "app=web"}, DB, WEB),
        ({"to": "app=db", "direction": "egress"}, DB, None),
        ({"to": "app=db", "direction": "both"}, DB, DB),
        ({"from_": "app=web", "direction": "both"}, WEB, WEB),
        ({"to": "app=db", "from_": "app=web", "direction": "both"}, DB, WEB),
        ({"from_": "app=web", "direction": "ingress"}, None, WEB),
    ],
)
def test_to_is_egress_and_from_is_ingress(arguments, egress, ingress):
    profile = made(delay="1ms", **arguments)
    assert (peers(profile.egress), peers(profile.ingress)) == (egress, ingress)


def test_direction_alone():
    assert made(delay="1ms", direction="ingress").egress is None
    assert made(delay="1ms", direction="both").ingress.rules == (Rule(),)


@pytest.mark.parametrize(
    "arguments",
    [
        {"to": "app=db", "direction": "ingress"},
        {"from_": "app=db", "direction": "egress"},
        {"to": "app=a", "from_": "app=b", "direction": "egress"},
        {"rtt": "1ms", "direction": "both"},
        {"preset": "lte", "direction": "egress"},
    ],
)
def test_contradicting_directions_are_refused(arguments):
    assert "contradicts" in refused(**({"delay": "1ms"} if "rtt" not in arguments else {}), **arguments)


def test_rtt_is_half_each_way_with_every_matched_pair():
    profile = made(rtt="100ms", pods="app=web", to="app=db")
    assert peers(profile.egress) == peers(profile.ingress) == DB
    assert profile.egress.timeline.only == profile.ingress.timeline.only == Impairment(delay=50 * MS)
    assert "rtt and delay exclude each other" in refused(rtt="1ms", delay="1ms")
    assert made(rtt=timedelta(milliseconds=3)).egress.timeline.only.delay == 1_500_000


def test_a_preset_has_two_sides_and_is_overridden():
    profile = made(preset="lte", loss="3%", to="app=db")
    assert peers(profile.egress) == peers(profile.ingress) == DB
    words = {"delay": "7.5ms", "jitter": "5ms", "loss": "3%"}
    assert profile.egress.timeline.only == build(words | {"rate": "5mbit"})
    assert profile.ingress.timeline.only == build(words | {"rate": "15mbit"})


def test_lists_are_ored_and_except_takes_away():
    profile = made(delay="1ms", to=["app=db", "10.0.0.0/8"], except_="10.1.0.0/16")
    block, hole = Block((4, 10 << 24, 8)), Block((4, (10 << 24) + (1 << 16), 16))
    hollow = Selection(blocks=(hole,))
    assert peers(profile.egress) == (Selection((app("db"),), blocks=(block,), names=("ns",), exceptions=(hollow,)),)


def test_except_alone_takes_away_from_everywhere():
    profile = made(delay="1ms", pods="app=web", except_="app=db")
    assert profile.pods == WEB[0]
    assert peers(profile.egress) == (Selection(blocks=EVERYWHERE, exceptions=DB),)


def test_namespaces():
    assert made(delay="1ms", pods="app=web", namespaces="shop").pods.names == ("shop",)
    everywhere = made(delay="1ms", pods="app=web", to="svc/db", namespaces="*")
    assert everywhere.pods.names == ()
    assert peers(everywhere.egress) == (Selection(refs=(Ref(RefKind.SERVICE, "db"),)),)
    assert made(delay="1ms", to="app=db", namespaces=["a", "b"]).egress.rules[0].peers[0].names == ("a", "b")
    for wrong in (3, [], [""], {}):
        assert "expected namespaces" in refused(delay="1ms", namespaces=wrong)


@pytest.mark.parametrize(
    ("arguments", "side", "end"),
    [
        ({"ports": "tcp/80"}, "egress", "either"),
        ({"src_ports": "tcp/80"}, "egress", "local"),
        ({"dst_ports": "tcp/80"}, "egress", "remote"),
        ({"ports": "tcp/80", "direction": "ingress"}, "ingress", "either"),
        ({"src_ports": "tcp/80", "direction": "ingress"}, "ingress", "remote"),
        ({"dst_ports": "tcp/80", "direction": "ingress"}, "ingress", "local"),
    ],
)
def test_ports(arguments, side, end):
    profile = made(delay="1ms", **arguments)
    assert getattr(profile, side).rules[0].ports == (Port(6, Ranges.of(80), side=end),)


def test_one_kind_of_ports_at_a_time():
    assert "dst_ports=" in refused(delay="1ms", src_ports="tcp/1", dst_ports="tcp/2")


def test_the_rest_is_carried():
    profile = made(
        delay="1ms", count="50%", follow="start", exempt=(), engine="userspace", verify="none", duration="2m", seed=9,
        interface="eth1",
    )  # fmt: skip
    assert (profile.count, profile.follow, profile.exempt, profile.engine) == (0.5, "start", (), "userspace")
    assert (profile.verify, profile.duration, profile.seed, profile.interface) == ("none", 120.0, 9, "eth1")
    assert made(delay="1ms", exempt="dns").exempt == ("dns",)


def test_none_is_as_if_it_were_not_there():
    assert made(delay="1ms", to=None, loss=None, count=None) == made(delay="1ms")


def test_what_the_fixtures_consume_is_let_be():
    assert made(delay="1ms", when="first", name="slow") == made(delay="1ms")


def test_nothing_asked_is_refused():
    assert refused().startswith("nothing is asked to happen to packets; give delay=")
    assert "nothing is asked" in refused(pods="app=web")


def test_a_nameless_value_is_refused():
    assert 'write it as keyword: delay="100ms"' in refused(**{"*": ("100ms",)})


def test_all_mistakes_come_at_once():
    text = refused(delay=100, loss=0.01, to="db", pods="node/x", ports=5432, count="0%", lss="1%", engine="tc")
    for line in (
        'delay=100: a bare number has no unit; write delay="100ms"',
        'loss=0.01: a bare number has no unit; write loss="1%" or loss="0.01%"',
        'to="db": a bare word',
        'pods="node/x": names no pod',
        'ports=5432: a port needs its protocol; write ports="tcp/5432"',
        'count="0%": expected',
        "lss: unknown field; did you mean loss?",
        'engine="tc": expected one of auto, kernel, userspace',
    ):
        assert line in text
    assert len(text.splitlines()) == 8


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6),
    st.lists(st.text(max_size=4), max_size=2),
    st.sampled_from(["100ms", "1%", "app=web", "svc/db", "tcp/80", "both", "10.0.0.0/8", "lte", "normal", "*"]),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from([*KNOWN, "*", "foo"]), VALUES, max_size=6))
def test_any_arguments_are_a_readable_object_or_a_config_error(arguments):
    try:
        obj = from_arguments(arguments, name="netem", namespace="ns")
    except ConfigError as error:
        obj = None
        problems = error.problems
    assert describe(parse(obj)) if obj else problems


def test_partition_is_silent_and_keeps_its_pods():
    profile = made(**partition("app=a", "app=b"))
    assert profile.follow == "start"
    assert profile.egress == profile.ingress
    assert profile.egress.timeline.only == Impairment(loss=Bernoulli(1.0))
    assert made(**partition("10.0.0.0/8", "app=a")).pods.selectors == (app("a"),)
    assert made(**partition("app=a", "app=b", duration="5s", follow="labels")).follow == "labels"


@pytest.mark.parametrize("more", [{"pods": "app=c"}, {"direction": "egress"}, {"loss": "1%"}, {"rtt": "1ms"}])
def test_a_partition_cannot_be_contradicted(more):
    with pytest.raises(ConfigError, match="leave out"):
        partition("app=a", "app=b", **more)


def test_blackhole():
    both = made(**blackhole("app=a"))
    assert both.egress == both.ingress
    assert both.pods.selectors == (app("a"),)
    assert made(**blackhole(from_="app=b", direction="ingress")).egress is None
    with pytest.raises(ConfigError, match="a blackhole loses every packet"):
        blackhole(delay="1ms")


@pytest.mark.parametrize(
    ("old", "update", "merged"),
    [
        ({"delay": "1ms"}, {"delay": "2ms"}, {"delay": "2ms"}),
        ({"delay": "1ms", "loss": "1%"}, {"loss": None}, {"delay": "1ms"}),
        ({"delay": "1ms", "direction": "both"}, {"rtt": "2ms"}, {"rtt": "2ms"}),
        ({"rtt": "1ms", "loss": "1%"}, {"delay": "2ms"}, {"loss": "1%", "delay": "2ms"}),
        ({"loss": "1%", "loss_correlation": "5%"}, {"loss_model": "ge 1% 9%"}, {"loss_model": "ge 1% 9%"}),
        ({"loss_model": "ge 1% 9%"}, {"loss": "1%"}, {"loss": "1%"}),
        ({"ports": "tcp/1"}, {"dst_ports": "tcp/2"}, {"dst_ports": "tcp/2"}),
        ({"preset": "lte"}, {"loss": "5%"}, {"preset": "lte", "loss": "5%"}),
    ],
)
def test_an_update_merges(old, update, merged):
    assert merge(old, update) == merged


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (
            {"delay": "100ms", "jitter": "10ms", "loss": "1%", "pods": "app=web", "to": "app=db", "ports": "tcp/5432"},
            "delay 100ms ±10ms, loss 1%, egress of app=web to app=db tcp/5432",
        ),
        ({"rtt": "100ms", "to": "svc/db"}, "delay 50ms, both directions of every pod with svc/db"),
        ({"loss": "100%", "from_": "10.0.0.7"}, "loss 100%, ingress of every pod from 10.0.0.7"),
        (
            {"rate": "10mbit", "except_": "node/a", "dst_ports": "udp"},
            "rate 10mbit, egress of every pod to anywhere except node/a udp (theirs)",
        ),
    ],
)
def test_a_profile_in_a_phrase(arguments, phrase):
    assert describe(made(**arguments)) == phrase


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        ({}, "nothing"),
        ({"delay": "1ms", "jitter": "1ms", "distribution": "normal"}, "delay 1ms ±1ms (normal)"),
        ({"loss": "1%", "loss_correlation": "5%", "ecn": True}, "loss 1% (correlated), ecn"),
        ({"loss_model": "ge 1% 10%"}, "loss 9.09% in bursts"),
        ({"loss_model": "every-nth 3"}, "loss of one packet in 3"),
        ({"delay": "1ms", "reorder": "5%", "gap": 2, "limit": 9}, "delay 1ms, reorder 5%, gap 2, limit 9"),
        ({"duplicate": "1%", "corrupt": "2%", "slot": "1ms"}, "duplicate 1%, corrupt 2%, slot"),
    ],
)
def test_an_impairment_in_a_phrase(words, phrase):
    assert describe_impairment(build(words)) == phrase
