"""Traffic that no profile means, against the bare path in the same run: filters of few and of many peers."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable

import pytest
from figures import median, say
from namespaces import PEER, Two, two
from traffic import small_packets, tcp

from pytest_k8s_netem.agent.dataplane import bpf, filters
from pytest_k8s_netem.model.match import Match
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import Class, Direction

_ROUNDS = 5
pytestmark = pytest.mark.needs("root")


def others_than_the_peer(many: int, bits: int) -> list[int]:
    """So many addresses, drawn from the network of ``2**bits`` addresses in which the peer is."""
    spoken_to = int.from_bytes(socket.inet_aton(PEER[4]), "big")
    network = spoken_to >> bits << bits
    drawn = random.Random(many).sample(range(network, network + (1 << bits)), many + 1)
    return [address for address in drawn if address != spoken_to][:many]


def matching(addresses: list[int]) -> Match:
    return Match(remote=PeerSet.from_networks([(4, address, 32) for address in addresses]))


def beside_bare(world: Two, hook: Callable[[], Callable[[], None]]) -> str:
    """TCP and small packets with filters, which ``hook`` installs and removes, to those without; by turns."""
    ratios: dict[str, list[float]] = {"tcp": [], "packets": []}
    took = []
    for _ in range(_ROUNDS):
        bare = tcp(world, 4, True), small_packets(world).rate
        start = time.perf_counter()
        remove = hook()
        took.append(time.perf_counter() - start)
        ratios["tcp"].append(tcp(world, 4, True) / bare[0])
        ratios["packets"].append(small_packets(world).rate / bare[1])
        remove()
    medians = {name: median(found) for name, found in ratios.items()}
    return (
        f"ratio to bare (median of {_ROUNDS}): TCP {medians['tcp']:.2f}, small packets {medians['packets']:.2f}; "
        f"installed and read back at both hooks in {median(took) * 1e3:.0f} ms"
    )


@pytest.mark.parametrize(
    ("peers", "bits", "by_address"),
    [
        (1, 8, False),
        (10_000, 15, False),
        (10_000, 24, False),
        pytest.param(10_000, 24, True, marks=pytest.mark.needs("flower")),
    ],
)
def test_traffic_that_no_profile_means(peers: int, bits: int, by_address: bool) -> None:
    """A rule of so many peers, none of them the one that is spoken to."""
    match = matching(others_than_the_peer(peers, bits))
    programs = len(bpf.compile_matches((match,), Direction.EGRESS))
    with two() as world:
        index = world.eth0().index

        def hook() -> Callable[[], None]:
            hooked = [
                filters.install(
                    world.netlink,
                    index,
                    direction,
                    [Class("c", "eth0", direction, (match,), ("s",))],
                    {"c": index},
                    by_address=by_address,
                )
                for direction in Direction
            ]
            assert all(entry.read()["c"].held for entry in hooked)

            def remove() -> None:
                for entry in hooked:
                    entry.remove()

            return remove

        how = "flower" if by_address else f"{programs} programs"
        say(f"unmatched traffic, {peers:6} peers of a /{32 - bits}, {how}:", beside_bare(world, hook))
