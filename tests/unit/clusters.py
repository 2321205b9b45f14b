"""Small worlds to resolve, written as short as they can be said; and random ones."""

from __future__ import annotations

from hypothesis import strategies as st

from pytest_k8s_netem.model.capabilities import Capabilities, EngineCapability, Interface
from pytest_k8s_netem.model.impairment import MILLISECOND, Bernoulli, Impairment
from pytest_k8s_netem.model.match import ICMP, IPV4, IPV6, TCP, UDP, Packet
from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.model.timeline import Timeline
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
    Side,
    TrafficProfile,
)
from pytest_k8s_netem.resolve.world import TargetFacts, World

ALL = Selection(selectors=(LabelSelector(),))
NODE_V4, NODE_V6 = "172.18.0.2", "fc00::2"
ETH0 = Interface("eth0", 2, 1500, "02:00:00:00:00:01", True, True)
LO = Interface("lo", 1, 65536, "00:00:00:00:00:00", True, False)
FACTS = TargetFacts(
    Capabilities("6.18", (EngineCapability("kernel", True), EngineCapability("userspace", True))), (LO, ETH0)
)
DELAYED = Impairment(delay=100 * MILLISECOND)


def labelled(**labels: str) -> Selection:
    requirements = tuple(Requirement(key, Operator.IN, (value,)) for key, value in labels.items())
    return Selection(selectors=(LabelSelector(requirements),))


def ref(kind: str, name: str) -> Selection:
    return Selection(refs=(Ref(RefKind(kind), name),))


def cidr(a: int, b: int, c: int, d: int, length: int, *but: tuple[int, int, int]) -> Selection:
    return Selection(blocks=(Block((4, (a << 24) + (b << 16) + (c << 8) + d, length), but),))


def side(*rules: Rule, impairment: Impairment = DELAYED) -> Side:
    return Side(rules or (Rule(),), Timeline.constant(impairment))


def tcp(*ports: int | tuple[int, int], at: str = "either", name: str = "") -> Port:
    return Port(TCP, Ranges.of(*ports) if ports else None, name, at)


def pod(name: str, number: int, *, namespace: str = "default", v6: bool = True, **labels: str) -> dict:
    addresses = [f"10.0.0.{number}", f"fd00::{number}"][: 2 if v6 else 1]
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}", "labels": labels},
        "spec": {"nodeName": "node-1", "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "podIP": addresses[0], "podIPs": [{"ip": text} for text in addresses]},
    }


def world(*pods: dict, profiles: tuple[TrafficProfile, ...] = ()) -> World:
    keyed = {f"{one['metadata']['namespace']}/{one['metadata']['name']}": one for one in pods}
    node = {"status": {"addresses": [{"address": NODE_V4}, {"address": NODE_V6}, {"address": "node-1"}]}}
    return World(
        pods=keyed,
        namespaces={one["metadata"]["namespace"]: {} for one in pods},
        nodes={"node-1": node},
        profiles={one.name: one for one in profiles},
        targets=dict.fromkeys(keyed, FACTS),
        apiserver=("10.96.0.1",),
    )


def service(name: str, vip: str, *ports: dict, namespace: str = "default", **selector: str) -> dict:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": vip, "clusterIPs": [vip], "selector": selector, "ports": list(ports)},
    }


# Random worlds: few labels, addresses and ports, so that things do overlap.

names = st.sampled_from("abcdef")
apps = st.sampled_from(("web", "db", "cache"))
port_numbers = st.sampled_from((53, 80, 8080, 5432))
addresses = st.one_of(
    st.integers(1, 8).map(lambda n: (4, 10 << 24 | n)),
    st.sampled_from(
        [(4, (172 << 24) + (18 << 16) + 2), (4, (10 << 24) + (96 << 16) + 1), (4, (10 << 24) + 96 * 65536 + 50)]
    ),
    st.integers(1, 8).map(lambda n: (6, (0xFD00 << 112) + n)),
)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    family, remote = draw(addresses)
    protocol = draw(st.sampled_from((TCP, UDP, ICMP)))
    ports = (draw(port_numbers), draw(port_numbers)) if protocol != ICMP else (None, None)
    return Packet(IPV4 if family == 4 else IPV6, protocol, remote, *ports)


selections = st.one_of(
    st.just(ALL),
    apps.map(lambda app: labelled(app=app)),
    names.map(lambda name: ref("pod", name)),
    apps.map(lambda app: ref("svc", app)),
    st.just(ref("node", "node-1")),
    st.just(cidr(10, 0, 0, 0, 29, (4, (10 << 24) + 2, 32))),
    apps.map(lambda app: Selection(selectors=(LabelSelector(),), exceptions=(labelled(app=app),))),
)
ports = st.builds(
    Port,
    st.sampled_from((TCP, UDP)),
    st.one_of(st.none(), port_numbers.map(Ranges.of)),
    st.just(""),
    st.sampled_from(("either", "remote", "local")),
)
rules = st.builds(
    Rule,
    protocols=st.one_of(st.none(), st.just(Ranges.of(TCP)), st.just(Ranges.of(ICMP, UDP))),
    peers=st.one_of(st.none(), st.lists(selections, max_size=2).map(tuple)),
    ports=st.one_of(st.none(), st.lists(ports, min_size=1, max_size=2).map(tuple)),
)
impairments = st.builds(
    Impairment,
    delay=st.sampled_from((0, 50 * MILLISECOND)),
    loss=st.builds(Bernoulli, st.sampled_from((0.0, 0.01, 0.3, 1.0))),
)
sides = st.one_of(
    st.none(),
    st.builds(Side, st.lists(rules, min_size=1, max_size=2).map(tuple), impairments.map(Timeline.constant)),
)


@st.composite
def profiles(draw: st.DrawFn, name: str) -> TrafficProfile:
    return TrafficProfile(
        name,
        uid=f"uid-{name}",
        order=(draw(st.integers(0, 3)),),
        pods=draw(st.one_of(st.just(ALL), apps.map(lambda app: labelled(app=app)))),
        count=draw(st.sampled_from((None, None, 1, 0.5))),
        egress=draw(sides),
        ingress=draw(sides),
        seed=draw(st.sampled_from((None, 7))),
        exempt=draw(st.sampled_from(((), ("node", "apiserver"), ("node", "apiserver", "dns")))),
    )


@st.composite
def worlds(draw: st.DrawFn, most_profiles: int = 3) -> World:
    pods = [
        pod(name, number, v6=draw(st.booleans()), app=draw(apps))
        for number, name in enumerate(draw(st.lists(names, min_size=1, max_size=5, unique=True)), 1)
    ]
    found = world(*pods, profiles=tuple(draw(profiles(f"p{n}")) for n in range(draw(st.integers(0, most_profiles)))))
    for n, app in enumerate(draw(st.lists(apps, max_size=2, unique=True))):
        port = {"port": draw(port_numbers), "targetPort": draw(port_numbers)}
        found.services[f"default/{app}"] = service(app, f"10.96.0.{50 + n}", port, app=app)
    return found
