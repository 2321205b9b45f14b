"""The ordered class list says what the profiles say, packet by packet."""

from __future__ import annotations

import clusters as c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_k8s_netem.model.match import ICMP, ICMPV6, IPV4, IPV6, TCP, Match, Packet
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import MAX_CLASSES, Direction
from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.profile.trafficprofile import Rule, TrafficProfile
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.classes import TooManyOverlaps, compose
from pytest_k8s_netem.resolve.expected import first_class, from_afar
from pytest_k8s_netem.resolve.index import Index
from pytest_k8s_netem.resolve.layout import layout
from pytest_k8s_netem.resolve.regions import Region, apiserver, named, node_of, region
from pytest_k8s_netem.resolve.resolve import resolve
from pytest_k8s_netem.resolve.rules import side_of, taken
from pytest_k8s_netem.resolve.select import profiles_by_pod, selected


def takes(matches: tuple[Match, ...], packet: Packet) -> bool:
    return any(match.takes(packet) for match in matches)


def stages_of(classes: tuple, packet: Packet) -> tuple[str, ...]:
    found = first_class(classes, packet)
    return found.stages if found else ()


def ranges(values: tuple[int, ...]) -> st.SearchStrategy[Ranges | None]:
    return st.one_of(st.none(), st.lists(st.sampled_from(values), min_size=1, max_size=3).map(lambda v: Ranges.of(*v)))


small_matches = st.builds(
    Match,
    protocols=ranges((1, 6, 17)),
    remote=st.one_of(
        st.none(), ranges(tuple(range((10 << 24) + 1, (10 << 24) + 9))).map(lambda r: PeerSet(r or Ranges()))
    ),
    remote_ports=ranges((53, 80, 8080, 5432)),
    local_ports=ranges((53, 80, 8080, 5432)),
)
unions = st.lists(small_matches, max_size=3).map(tuple)


@given(st.lists(st.tuples(unions, unions), max_size=4), st.lists(c.packets(), min_size=1, max_size=30))
@settings(max_examples=300, deadline=None)
def test_the_first_class_that_takes_a_packet_names_its_stages(parts, packets):
    regions = [Region(f"p{at}", taken, spared) for at, (taken, spared) in enumerate(parts)]
    try:
        classes = compose(regions, "eth0", Direction.EGRESS)
    except TooManyOverlaps:
        return
    for packet in packets:
        naive = tuple(f"{r.profile}/egress" for r in regions if takes(r.takes, packet) and not takes(r.spares, packet))
        assert stages_of(classes, packet) == naive
    assert len({one.id for one in classes}) == len(classes)
    assert not classes or classes[-1].stages, "a spared class at the end says nothing"


@given(c.worlds(), st.lists(c.packets(), min_size=5, max_size=20))
@settings(max_examples=200, deadline=None)
def test_a_pods_classes_are_what_its_profiles_take_and_do_not_spare(world, packets):
    index = Index(world)
    for key in index.live:
        for direction in Direction:
            profiles = [p for p in profiles_by_pod(index).get(key, ()) if side_of(p, direction)]
            classes = layout(index, key).side("eth0", direction)
            for packet in packets:
                expected = tuple(
                    f"{p.name}/{direction.value}" for p in profiles if naive(index, key, p, direction, packet)
                )
                assert stages_of(classes, packet) == expected


def naive(index: Index, key: str, profile: TrafficProfile, direction: Direction, packet: Packet) -> bool:
    """The contract's words, one after the other."""
    if not takes(taken(index, profile.name, direction), packet):
        return False
    family = 4 if packet.ether_type == IPV4 else 6
    spared = PeerSet()
    if "node" in profile.exempt:
        spared |= node_of(index, key)[1]
    if "apiserver" in profile.exempt:
        spared |= apiserver(index)
    if packet.remote in (spared - named(index, profile.name, direction)).family(family):
        return False
    if "dns" in profile.exempt and packet.remote_port == 53 and packet.protocol in (6, 17):
        return False
    return direction is Direction.EGRESS or not impaired_at_its_sender(index, key, profile, packet, family)


def impaired_at_its_sender(index: Index, key: str, profile: TrafficProfile, packet: Packet, family: int) -> bool:
    mine = objects.pod_addresses(index.live[key]).family(family)
    senders = [
        sender
        for sender in selected(index, profile.name)
        if packet.remote in objects.pod_addresses(index.live[sender]).family(family)
    ]
    return bool(mine and senders) and takes(
        taken(index, profile.name, Direction.EGRESS), from_afar(packet, mine.pairs[0][0])
    )


def test_neighbour_discovery_is_never_impaired():
    profile = TrafficProfile("p", pods=c.ALL, egress=c.side(), ingress=c.side(), exempt=())
    plan = resolve("default/web", c.world(c.pod("web", 1), profiles=(profile,))).plan
    solicitation = Packet(IPV6, ICMPV6, (0xFD00 << 112) + 2, icmp_type=135)
    echo = Packet(IPV6, ICMPV6, (0xFD00 << 112) + 2, icmp_type=128)
    assert stages_of(plan.classes, echo)
    assert not stages_of(plan.classes, solicitation)


def test_twenty_equal_profiles_are_one_class_and_its_spared_part():
    many = tuple(TrafficProfile(f"p{n:02}", pods=c.ALL, egress=c.side()) for n in range(20))
    plan = resolve("default/web", c.world(c.pod("web", 1), profiles=many)).plan
    assert [len(one.stages) for one in plan.classes] == [0, 20]


def test_too_many_overlaps_refuse_the_profile_that_makes_them_and_keep_the_others():
    def overlapping(n: int) -> TrafficProfile:
        everything_but = c.cidr(0, 0, 0, 0, 0, (4, (10 << 24) + n, 32))
        return TrafficProfile(f"p{n}", pods=c.ALL, egress=c.side(Rule(peers=(everything_but,))), exempt=())

    result = resolve("default/web", c.world(c.pod("web", 1), profiles=tuple(overlapping(n) for n in range(2, 10))))
    assert {path for several in result.problems.values() for path in (p.path for p in several)} == {"TooManyOverlaps"}
    assert list(result.problems) == ["p9", "p8"][: len(result.problems)]
    assert len(result.plan.classes) <= MAX_CLASSES
    assert "p2" in {stage.profile for stage in result.plan.stages}


def test_a_more_specific_overlap_comes_first_and_stages_keep_the_order_of_their_profiles():
    wide = TrafficProfile("wide", order=(2,), pods=c.ALL, egress=c.side(), exempt=())
    narrow = TrafficProfile(
        "narrow", order=(1,), pods=c.ALL, egress=c.side(Rule(ports=(c.tcp(80, at="remote"),))), exempt=()
    )
    plan = resolve("default/web", c.world(c.pod("web", 1), profiles=(wide, narrow))).plan
    assert [one.id for one in plan.classes] == ["eth0/egress/narrow+wide", "eth0/egress/wide"]
    assert plan.classes[0].stages == ("narrow/egress", "wide/egress")


@pytest.mark.parametrize("direction", list(Direction))
def test_what_only_one_profile_spares_still_meets_the_other(direction):
    one = {direction.value: c.side()}
    world = c.world(
        c.pod("web", 1),
        profiles=(TrafficProfile("a", pods=c.ALL, **one), TrafficProfile("b", pods=c.ALL, exempt=(), **one)),
    )
    node = Packet(IPV4, ICMP, objects.address(c.NODE_V4)[1])
    elsewhere = Packet(IPV4, TCP, 8 << 24, 80, 50000)
    plan = resolve("default/web", world).plan
    assert stages_of(plan.classes, node) == (f"b/{direction.value}",)
    assert stages_of(plan.classes, elsewhere) == (f"a/{direction.value}", f"b/{direction.value}")


def test_regions_are_equal_on_pods_that_differ_in_name_only_so_that_their_classes_are_shared():
    profile = TrafficProfile("p", pods=c.ALL, egress=c.side(), ingress=c.side())
    index = Index(c.world(c.pod("a", 1), c.pod("b", 2), profiles=(profile,)))
    assert region(index, "default/a", profile, Direction.INGRESS) == region(
        index, "default/b", profile, Direction.INGRESS
    )
