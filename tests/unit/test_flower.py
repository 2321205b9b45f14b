"""Addresses as networks, and which matches become them."""

from __future__ import annotations

import ipaddress
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_k8s_netem.agent.dataplane import bpf, flower
from pytest_k8s_netem.agent.dataplane.flower import Networks
from pytest_k8s_netem.model.match import IPV4, IPV6, TCP, Match
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.model.ranges import Ranges

WORD = 0xFFFFFFFF
MANY = Ranges.of(*random.Random(7).sample(range(1 << 31), 5000))
PORT = Ranges.of(443)


@given(st.lists(st.tuples(st.integers(0, WORD), st.integers(0, WORD)).map(sorted).map(tuple), max_size=5))
def test_networks_are_exactly_the_addresses_and_as_few_as_can_be(pairs: list[tuple[int, int]]) -> None:
    addresses = Ranges.joined(pairs)
    expected = [
        (int(network.network_address), int(network.netmask))
        for pair in addresses
        for network in ipaddress.summarize_address_range(*map(ipaddress.IPv4Address, pair))
    ]
    assert list(Networks.of(addresses).pairs) == expected


@pytest.mark.parametrize("direction", Direction)
def test_what_is_asked_of_the_kernel_can_be_read_again(direction: Direction) -> None:
    pairs = ((0, 0), (0x0A000000, 0xFF000000), (WORD, WORD))
    packed = list(flower.options(pairs, direction, 9, 3, 77))
    assert [flower.network(raw, direction) for raw in packed] == list(pairs)
    assert {(flower.class_id(raw), flower.action(raw)) for raw in packed} == {(9, 77)}


def parts(*matches: Match) -> list[object]:
    """The size of each list of networks, the ether type of each program."""
    found = bpf.compile_parts(matches, Direction.EGRESS)
    return [len(part.pairs) if isinstance(part, Networks) else part.ether_type for part in found]


def test_only_many_ipv4_addresses_alone_become_networks() -> None:
    remote = PeerSet(MANY)
    few = Match(remote=PeerSet(Ranges.of(1, 5)))
    with_port = Match(remote=PeerSet(Ranges.of((0, 1 << 31))), remote_ports=PORT)
    assert parts(Match(remote=remote)) == [5000]
    assert parts(Match(remote=remote), few) == [5002]
    assert parts(Match(remote=PeerSet(MANY, MANY))) == [5000, IPV6, IPV6], "neighbour discovery passes"
    assert parts(Match(remote=remote), with_port) == [5000, IPV4]
    assert parts(few, with_port) == [IPV4]
    assert parts(Match(remote=remote, remote_ports=PORT), few) == [IPV4, IPV4, IPV4]
    assert parts(Match(protocols=Ranges.of(TCP), remote=remote)) == [IPV4, IPV4]
    assert set(parts(Match(ether_types=None, remote=remote))) == {3}, "of every frame, which no network is"
    assert parts(Match(ether_types=Ranges.of(IPV6), remote=remote)) == []
    assert parts() == []
