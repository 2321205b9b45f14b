"""Who and which ports, in the short forms of markers and in the form of objects."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.profile.labels import format_labels, parse_label_selector, parse_labels, render_label_selector
from pytest_k8s_netem.profile.ports import parse_port, parse_ports
from pytest_k8s_netem.profile.protocols import parse_ether_type, parse_protocol
from pytest_k8s_netem.profile.selectors import format_selection, in_namespaces, parse_peers, parse_pods
from pytest_k8s_netem.profile.trafficprofile import (
    Block,
    LabelSelector,
    Operator,
    Port,
    Ref,
    RefKind,
    Requirement,
    Selection,
)

IN, NOT_IN, EXISTS, ABSENT = Operator.IN, Operator.NOT_IN, Operator.EXISTS, Operator.DOES_NOT_EXIST


def labels(*requirements):
    return LabelSelector(tuple(Requirement(key, operator, tuple(values)) for key, operator, *values in requirements))


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("app=web", labels(("app", IN, "web"))),
        ("app==web", labels(("app", IN, "web"))),
        ("app=web,tier!=db", labels(("app", IN, "web"), ("tier", NOT_IN, "db"))),
        ("tier in (a,b)", labels(("tier", IN, "a", "b"))),
        ("tier notin (a, b),x=", labels(("tier", NOT_IN, "a", "b"), ("x", IN, ""))),
        ("app=web,key", labels(("app", IN, "web"), ("key", EXISTS))),
        ("!key", labels(("key", ABSENT))),
        ("example.org/app = web", labels(("example.org/app", IN, "web"))),
    ],
)
def test_label_selectors(text, selector):
    assert parse_pods(text) == Selection((selector,))


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("pod/web-0", Ref(RefKind.POD, "web-0")),
        ("pods/web-0", Ref(RefKind.POD, "web-0")),
        ("svc/db", Ref(RefKind.SERVICE, "db")),
        ("service/db", Ref(RefKind.SERVICE, "db")),
        ("deploy/web", Ref(RefKind.DEPLOYMENT, "web")),
        ("deployment/web", Ref(RefKind.DEPLOYMENT, "web")),
        ("container/redis", Ref(RefKind.CONTAINER, "redis")),
        ("node/worker-1", Ref(RefKind.NODE, "worker-1")),
        ("fqdn:Example.org.", Ref(RefKind.FQDN, "example.org")),
    ],
)
def test_references(text, ref):
    assert parse_peers(text) == Selection(refs=(ref,))


@pytest.mark.parametrize(
    ("value", "network"),
    [
        ("10.0.0.7", (4, 0x0A000007, 32)),
        ("10.1.2.3/8", (4, 0x0A000000, 8)),
        ("2001:db8::/32", (6, 0x20010DB8 << 96, 32)),
        ("::1", (6, 1, 128)),
        (ipaddress.ip_address("10.0.0.7"), (4, 0x0A000007, 32)),
        (ipaddress.ip_network("10.0.0.0/8"), (4, 0x0A000000, 8)),
    ],
)
def test_addresses(value, network):
    assert parse_peers(value) == Selection(blocks=(Block(network),))


def test_lists_are_ored_and_each_item_counts_once():
    selection = parse_peers(["app=db", "pod/a", "10.0.0.0/8", "app=db"])
    assert selection == Selection((labels(("app", IN, "db")),), (Ref(RefKind.POD, "a"),), (Block((4, 10 << 24, 8)),))


@pytest.mark.parametrize("text", ["node/worker-1", "10.0.0.7", "10.0.0.0/8", "fqdn:example.org"])
def test_what_has_no_interface_is_no_pod(text):
    with pytest.raises(ConfigError, match="names no pod whose interface could be touched"):
        parse_pods(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("web", 'to="web": a bare word may be a label, a pod or a host; forms: a label selector'),
        ("example.org", "a bare word may be"),
        ("", "not a selector"),
        ("  ", "not a selector"),
        (7, "to=7: not a selector"),
        (None, "not a selector"),
        ([], "an empty list selects nothing"),
        ("podd/web", '"podd" is no kind that can be selected; did you mean pod?'),
        ("statefulset/web", '"statefulset" is no kind that can be selected; forms:'),
        ("10.0.0.0/33", 'not a CIDR; write "10.0.0.0/8" or "2001:db8::/32"'),
        ("fe80::1%eth0", "a bare word"),
        ("app=we b", 'to="app=we b": not a label requirement; write app=web, tier!=db, tier in (a,b), key or !key'),
        ("app=web,,", "not a label requirement"),
        ("tier in ()", "not a label requirement"),
        ("pod/", "not the name of a pod"),
        ("fqdn:*.example.org", "not a host's name"),
    ],
)
def test_refused_selectors(value, text):
    with pytest.raises(ConfigError) as error:
        parse_peers(value)
    assert text in str(error.value)


def test_every_bad_item_of_a_list_is_told():
    with pytest.raises(ConfigError) as error:
        parse_peers(["web", "app=db", "foo/bar"])
    assert [problem.path for problem in error.value.problems] == ["to[0]", "to[2]"]


def test_namespaces_confine_what_is_in_one():
    assert in_namespaces(parse_peers("app=db"), ("ns",)).names == ("ns",)
    assert in_namespaces(parse_peers("svc/db"), ("ns",)).names == ("ns",)
    assert in_namespaces(parse_peers(["10.0.0.0/8", "node/a"]), ("ns",)).names == ()


@given(st.text())
def test_selectors_are_total(text):
    refusal = None
    try:
        assert format_selection(parse_peers(text))
    except ConfigError as error:
        refusal = str(error)
    assert refusal is None or "to" in refusal


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
REQUIREMENTS = st.one_of(
    st.builds(Requirement, NAMES, st.sampled_from([IN, NOT_IN]), st.lists(NAMES, min_size=1, max_size=3).map(tuple)),
    st.builds(Requirement, NAMES, st.sampled_from([EXISTS, ABSENT])),
)
SELECTORS = st.lists(REQUIREMENTS, min_size=1, max_size=4).map(lambda items: LabelSelector(tuple(items)))


@given(SELECTORS)
def test_label_selectors_come_back(selector):
    assert parse_labels(format_labels(selector)) == selector
    assert parse_label_selector(render_label_selector(selector)) == selector


TCP, UDP, ICMP = 6, 17, 1


@pytest.mark.parametrize(
    ("value", "ports"),
    [
        ("tcp/5432", (Port(TCP, Ranges.of(5432)),)),
        ("TCP/80", (Port(TCP, Ranges.of(80)),)),
        ("tcp/8000-8100", (Port(TCP, Ranges.of((8000, 8100))),)),
        ("tcp/http", (Port(TCP, name="http"),)),
        ("udp", (Port(UDP),)),
        ("icmp", (Port(ICMP),)),
        (["tcp/1", "udp/2"], (Port(TCP, Ranges.of(1)), Port(UDP, Ranges.of(2)))),
    ],
)
def test_ports(value, ports):
    assert parse_ports(value) == ports


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5432, 'ports=5432: a port needs its protocol; write ports="tcp/5432"'),
        ("5432", 'a port needs its protocol; write ports="tcp/5432"'),
        ("5432/tcp", 'the protocol comes first; write ports="tcp/5432"'),
        ("tpc/80", "not a port; did you mean tcp?"),
        ("http", 'not a port; write ports="tcp/5432"'),
        ("icmp/8", "icmp has no ports"),
        ("tcp/0", "a port lies between 1 and 65535"),
        ("tcp/65536", "a port lies between 1 and 65535"),
        ("tcp/90-80", "the range ends before it begins"),
        ("tcp/", "neither a port's number, a range nor a name"),
        ([], "an empty list takes no port"),
        (None, "not a port"),
        ({}, "not a port"),
    ],
)
def test_refused_ports(value, text):
    with pytest.raises(ConfigError) as error:
        parse_ports(value)
    assert text in str(error.value)


@given(st.one_of(st.text(), st.integers(), st.lists(st.text()), st.none()))
def test_ports_are_total(value):
    refusal = None
    try:
        assert parse_ports(value)
    except ConfigError as error:
        refusal = str(error)
    assert refusal is None or "ports" in refusal


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"port": 0}, "p.port=0: a port lies between 1 and 65535"),
        ({"port": 80, "endPort": 79}, "the range ends before it begins"),
        ({"endPort": 79}, "a range needs its first port"),
        ({"port": "http", "endPort": 79}, "a named port has no range"),
        ({"port": 80, "protocol": "ICMP"}, "has no ports"),
        ({"port": 80, "side": "left"}, "unknown side"),
        ({"prot": 80}, "p.prot: unknown field; did you mean port?"),
        ({"port": True}, "expected a port's number or name"),
        ("tcp/80", "expected a mapping"),
    ],
)
def test_refused_port_objects(value, text):
    with pytest.raises(ConfigError) as error:
        parse_port(value, "p", "remote")
    assert text in str(error.value)


def test_protocols_and_ether_types():
    assert [parse_protocol(value) for value in ("TCP", "ipv6-icmp", "UDPlite", 0x1, "0x11", 0)] == [
        6,
        58,
        136,
        1,
        17,
        0,
    ]
    assert [parse_ether_type(value) for value in ("ip", "arp", "ip6", 0x88B8, "0x88B8")] == [
        0x0800, 0x0806, 0x86DD, 0x88B8, 0x88B8,
    ]  # fmt: skip
    for reader, value in (
        (parse_protocol, 256),
        (parse_protocol, "tpc"),
        (parse_ether_type, 100),
        (parse_ether_type, []),
    ):
        with pytest.raises(ConfigError):
            reader(value, "x")
