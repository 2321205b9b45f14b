"""Traffic that no profile means, against the bare path in the same run: filters of few and of many peers."""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Callable

import pytest
from figures import median, say
from namespaces import PEER, Two, two
from traffic import small_packets, tcp

from pytest_k8s_netem.agent.dataplane import bpf, clsbpf, filters
from pytest_k8s_netem.agent.dataplane.attributes import attribute, by_type, nested
from pytest_k8s_netem.agent.dataplane.tc import HOOK_EGRESS, HOOK_INGRESS
from pytest_k8s_netem.model.match import Match
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import Class, Direction

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
    for _ in range(3):
        bare = tcp(world, 4, True), small_packets(world).rate
        start = time.perf_counter()
        remove = hook()
        took.append(time.perf_counter() - start)
        ratios["tcp"].append(tcp(world, 4, True) / bare[0])
        ratios["packets"].append(small_packets(world).rate / bare[1])
        remove()
    return (
        f"ratio to bare (median of 3): TCP {median(ratios['tcp']):.2f}, small packets {median(ratios['packets']):.2f}; "
        f"installed at both hooks in {median(took) * 1e3:.0f} ms"
    )


@pytest.mark.parametrize(("peers", "bits"), [(1, 8), (10_000, 15), (10_000, 24)])
def test_traffic_that_no_profile_means(peers: int, bits: int) -> None:
    """A rule of so many peers, none of them the one that is spoken to."""
    match = matching(others_than_the_peer(peers, bits))
    programs = len(bpf.compile_matches((match,), Direction.EGRESS))
    with two() as world:
        index = world.eth0().index

        def hook() -> Callable[[], None]:
            listed = [Class("c", "eth0", d, (match,), ("s",)) for d in Direction]
            hooked = [filters.install(world.netlink, index, entry.direction, [entry], {"c": index}) for entry in listed]

            def remove() -> None:
                for entry in hooked:
                    entry.remove()

            return remove

        say(f"unmatched traffic, {peers:6} peers of a /{32 - bits}, {programs} programs:", beside_bare(world, hook))


@pytest.mark.needs("netem")  # such a kernel has flower too
@pytest.mark.parametrize("bits", [15, 24])
def test_the_same_by_flower(bits: int) -> None:
    """Why large sets are programs too: a flower filter for each peer, found by one look into a hash table."""
    addresses = others_than_the_peer(10_000, bits)
    with two() as world:
        index = world.eth0().index

        def hook() -> Callable[[], None]:
            for at, keys in FLOWER_ADDRESSES.items():
                for address in addresses:
                    world.netlink.add_filter(index, at, 100, "flower", flower(address, keys, index), protocol=ETH_P_IP)

            def remove() -> None:
                for at in FLOWER_ADDRESSES:
                    for entry in world.netlink.filters(index, at):
                        world.netlink.delete_filter(entry)

            return remove

        say(f"the same by flower, {len(addresses)} peers of a /{32 - bits}:", beside_bare(world, hook))


ETH_P_IP, FLOWER_ACT, FLOWER_ETH_TYPE = 0x0800, 3, 8
FLOWER_ADDRESSES = {HOOK_EGRESS: (12, 13), HOOK_INGRESS: (10, 11)}
"""The key and the mask of a peer's IPv4 address (linux/pkt_cls.h, TCA_FLOWER_*), by hook."""


def flower(address: int, keys: tuple[int, int], device: int) -> bytes:
    """Options of a filter that redirects what is exchanged with one address."""
    action = by_type(clsbpf.redirect(device))[clsbpf.ACT]
    values = zip(
        (FLOWER_ETH_TYPE, *keys), (struct.pack("!H", ETH_P_IP), struct.pack("!I", address), b"\xff" * 4), strict=True
    )
    return b"".join(attribute(key, value) for key, value in values) + nested(FLOWER_ACT, action)
