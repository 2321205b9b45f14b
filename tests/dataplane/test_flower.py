"""Sets of more addresses than a program holds: by flower where the kernel has it, by several programs elsewhere."""

from __future__ import annotations

import random
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest
from agentkit import wait_for
from namespaces import PEER, POD, Two, ip, two
from packets import address

from pytest_k8s_netem.agent.dataplane import filters, flower, mirred
from pytest_k8s_netem.agent.dataplane.hooked import Hooked
from pytest_k8s_netem.agent.dataplane.tc import HOOK_EGRESS, HOOK_INGRESS, Filter
from pytest_k8s_netem.agent.namespace import entered
from pytest_k8s_netem.model.match import Match
from pytest_k8s_netem.model.observed import ClassObserved
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import Class, Direction
from pytest_k8s_netem.model.ranges import Ranges

pytestmark = [pytest.mark.needs("root"), pytest.mark.needs("netns"), pytest.mark.needs("tc")]
WAYS = pytest.mark.parametrize("by_address", [pytest.param(True, marks=pytest.mark.needs("flower")), False])
FLOWER = pytest.mark.needs("flower")
EGRESS, INGRESS = Direction.EGRESS, Direction.INGRESS
STRANGERS = Ranges.of(*random.Random(4).sample(range(11 << 24, 12 << 24), 5000))
"""More single addresses of 11.0.0.0/8 than a program has instructions."""
OTHER = "10.77.0.3"
"""A second address of the peer, which no set here has."""


@pytest.fixture
def world() -> Iterator[Two]:
    with two() as made:
        ip(made.peer, f"addr add {OTHER}/24 dev eth0")
        yield made


def set_of(*addresses: int | tuple[int, int]) -> PeerSet:
    return PeerSet(STRANGERS | Ranges.of(*addresses))


def install(world: Two, remote: PeerSet, direction: Direction = EGRESS, *, by_address: bool = True) -> Hooked:
    """One class that redirects to a device whose queue holds what it gets."""
    links = {link.name for link in world.netlink.links()}
    if "hold" not in links:
        world.netlink.add_link("hold", "ifb", up=True)
    listed = [Class("c", "eth0", direction, (Match(remote=remote),), ("s",))]
    redirects = {"c": world.netlink.link("hold").index}
    return filters.install(world.netlink, world.eth0().index, direction, listed, redirects, by_address=by_address)


def kinds(world: Two, hook: int = HOOK_EGRESS) -> dict[str, int]:
    """How many filters of each kind there are."""
    index = world.eth0().index
    priorities = {entry.priority for entry in world.netlink.filters(index, hook)}
    listed = [entry.kind for priority in priorities for entry in world.netlink.filters(index, hook, priority)]
    return {kind: listed.count(kind) for kind in set(listed)}


def seen(hooked: Hooked) -> ClassObserved:
    return hooked.read()["c"]


def bound(world: Two, action: int) -> int:
    """How many filters the kernel says an action has."""
    return mirred.of_action(world.netlink.action(mirred.KIND, action)).filters


def taken(hooked: Hooked, packets: int) -> bool:
    """Whether it comes to have taken so many, and then has."""
    wait_for(f"{packets} packets", lambda: seen(hooked).packets >= packets)
    return seen(hooked).packets == packets


@WAYS
@pytest.mark.parametrize("direction", Direction)
def test_what_is_in_the_set_is_taken_and_nothing_else(world: Two, direction: Direction, by_address: bool) -> None:
    """Fragments, and a header with options, are no exception."""
    hooked = install(world, set_of(address(PEER[4])), direction, by_address=by_address)
    hook = HOOK_EGRESS if direction is EGRESS else HOOK_INGRESS
    assert set(kinds(world, hook)) == {"flower" if by_address else "bpf"}
    assert seen(hooked) == ClassObserved(held=True)

    def send(size: int, peer: str = PEER[4], *, with_options: bool = False) -> None:
        sock = world.socket(world.pod if direction is EGRESS else world.peer)
        if with_options:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\1" * 8)
        sock.bind((POD[4] if direction is EGRESS else peer, 0))
        sock.sendto(bytes(size), (peer if direction is EGRESS else POD[4], 9))

    send(1)
    send(4000)  # three fragments
    send(1, with_options=True)
    send(1, OTHER)
    send(1)
    assert taken(hooked, 6)
    hooked.remove()
    assert kinds(world, hook) == {}
    assert seen(hooked) == ClassObserved(held=False)
    hooked.remove()


@FLOWER
def test_tc_reads_each_network(world: Two) -> None:
    hooked = install(world, set_of((address("10.77.0.128"), address("10.77.0.255"))))
    with entered(world.pod):
        listed = subprocess.run(
            ["tc", "filter", "show", "dev", "eth0", "egress"], capture_output=True, text=True, check=True
        ).stdout
    assert listed.count("dst_ip ") == 5001
    assert "dst_ip 10.77.0.128/25\n" in listed
    assert f"bind {5001}" in listed, "one action for all"
    hooked.remove()


@FLOWER
@pytest.mark.parametrize("handle", [1, 900])
def test_one_filter_less_is_not_held(world: Two, handle: int) -> None:
    """The first is the one by which they are told."""
    hooked = install(world, set_of(address(PEER[4])))
    assert seen(hooked).held
    [ours] = filters.ours(world.netlink, world.eth0().index, EGRESS)
    action = flower.action(ours.options)
    before = bound(world, action)
    world.netlink.delete_filter(replace(ours, handle=handle))
    wait_for("a filter's end, which is later than its removal", lambda: bound(world, action) == before - 1)
    assert not seen(hooked).held
    hooked.remove()
    assert kinds(world) == {}


@FLOWER
def test_another_network_in_place_of_one_is_not_held(world: Two) -> None:
    hooked = install(world, set_of(address(PEER[4])))
    [ours] = filters.ours(world.netlink, world.eth0().index, EGRESS)
    victim = world.netlink.filter_at(replace(ours, handle=7))
    assert victim is not None
    world.netlink.delete_filter(victim)
    [packed] = flower.options(
        [(address(OTHER), 0xFFFFFFFF)],
        EGRESS,
        flower.class_id(victim.options),
        world.netlink.link("hold").index,
        flower.action(victim.options),
    )
    world.netlink.add_filters([replace(victim, options=packed)])
    assert not seen(hooked).held
    hooked.remove()
    assert kinds(world) == {}


@FLOWER
def test_a_place_that_another_agent_takes_at_the_same_moment_stays_its(
    world: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = install(world, set_of(address(PEER[4])))
    [entry] = filters.ours(world.netlink, world.eth0().index, EGRESS)
    look = filters.ours
    answers = iter([[]])  # our first look was before theirs was there
    monkeypatch.setattr(filters, "ours", lambda *where: next(answers, None) or look(*where))
    ours = install(world, set_of(address(OTHER)))
    monkeypatch.undo()
    assert seen(theirs).held
    assert seen(ours).held
    priorities = [found.priority for found in look(world.netlink, entry.index, EGRESS)]
    assert priorities == [entry.priority - 1, entry.priority]
    ours.remove()
    assert seen(theirs).held


@FLOWER
def test_what_stands_in_the_same_place_later_is_not_taken_off(world: Two) -> None:
    old = install(world, set_of(address(PEER[4])))
    filters.clear(world.netlink, world.eth0().index)
    assert kinds(world) == {}
    new = install(world, set_of(address(PEER[4])))
    assert not seen(old).held
    old.remove()
    assert seen(new).held


@FLOWER
@pytest.mark.parametrize("to", [2, 2500])
def test_a_refusal_half_way_leaves_nothing(world: Two, monkeypatch: pytest.MonkeyPatch, to: int) -> None:
    """The kernel refuses one of the filters: something has that handle already."""
    add = world.netlink.add_filters

    def with_an_obstacle(entries: list[Filter]) -> None:
        if entries and entries[-1].handle > to >= entries[0].handle:
            add([replace(entries[to - entries[0].handle], handle=to)])
        add(entries)

    monkeypatch.setattr(world.netlink, "add_filters", with_an_obstacle)
    with pytest.raises(FileExistsError):
        install(world, set_of(address(PEER[4])))
    assert kinds(world) == {}
    assert filters.ours(world.netlink, world.eth0().index, EGRESS) == []


@FLOWER
def test_a_device_that_is_not_there_is_refused(world: Two) -> None:
    listed = [Class("c", "eth0", EGRESS, (Match(remote=set_of(1)),), ("s",))]
    with pytest.raises(OSError, match="No such device"):
        filters.install(world.netlink, world.eth0().index, EGRESS, listed, {"c": 9999}, by_address=True)
    assert kinds(world) == {}


@FLOWER
def test_foreign_flower_filters_stay(world: Two) -> None:
    index = world.eth0().index
    theirs = "tc filter add dev eth0 egress protocol ip prio 20001 flower dst_ip 10.77.0.9 action pass"
    with entered(world.pod):
        subprocess.run(theirs.split(), check=True)
    assert filters.ours(world.netlink, index, EGRESS) == []
    assert list(filters.foreign(world.netlink, index)) == ["flower at egress, priority 20001"]
    hooked = install(world, set_of(address(PEER[4])))
    hooked.remove()
    assert kinds(world) == {"flower": 1}
