"""The address plan of the embedded cluster."""

from __future__ import annotations

from itertools import combinations

import pytest

from pytest_k8s_netem.errors import ClusterError
from pytest_k8s_netem.local.addresses import MOST_NODES, MOST_PODS, NodeAddresses


def test_no_two_nodes_share_a_network_or_an_address() -> None:
    nodes = [NodeAddresses(index) for index in range(MOST_NODES)]
    for one, other in combinations(nodes, 2):
        assert not set(one.own) & set(other.own)
        assert not any(a.overlaps(b) for a, b in zip(one.networks, other.networks, strict=True))  # type: ignore[arg-type]


def test_pods_have_addresses_of_their_own_inside_the_nodes_networks() -> None:
    node = NodeAddresses(3)
    pairs = [node.take() for _ in range(MOST_PODS)]
    assert len(set(pairs)) == MOST_PODS
    assert not {address for pair in pairs for address in pair} & {*node.own, *node.gateways}
    with pytest.raises(ClusterError, match="full"):
        node.take()


def test_an_address_comes_round_again_as_late_as_possible() -> None:
    node = NodeAddresses(0)
    first = node.take()
    node.give_back(first)
    rest = [node.take() for _ in range(MOST_PODS - 1)]
    assert first not in rest
    assert node.take() == first
