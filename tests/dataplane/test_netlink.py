"""The agent's netlink against the real kernel, read by iproute2."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_k8s_netem.agent import namespace
from pytest_k8s_netem.agent.capabilities import probe
from pytest_k8s_netem.agent.dataplane import bpf, clsbpf, filters, names, offloads
from pytest_k8s_netem.agent.dataplane.netlink import Netlink
from pytest_k8s_netem.agent.dataplane.tc import HOOK_EGRESS
from pytest_k8s_netem.agent.loop import Loop
from pytest_k8s_netem.agent.namespace import current, enter, entered, unshare
from pytest_k8s_netem.agent.netns import Netns
from pytest_k8s_netem.agent.spares import Spares
from pytest_k8s_netem.agent.trials import try_all
from pytest_k8s_netem.model.match import EVERYTHING, TCP, Match
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import Class, Direction
from pytest_k8s_netem.model.ranges import Ranges

pytestmark = [pytest.mark.needs("root"), pytest.mark.needs("netns"), pytest.mark.needs("tc")]
EGRESS, INGRESS = Direction.EGRESS, Direction.INGRESS


@pytest.fixture
def space() -> Iterator[int]:
    home = current()
    unshare()
    made = current()
    enter(home)
    yield made
    os.close(made)
    os.close(home)


@pytest.fixture
def netlink(space: int) -> Iterator[Netlink]:
    with entered(space):
        opened = Netlink.open()
    with opened:
        yield opened


@pytest.fixture
def device(netlink: Netlink) -> int:
    index = netlink.add_link("eth0", "veth", peer="far0", up=True)
    netlink.add_clsact(index)
    return index


def told(space: int, *command: str) -> Any:
    with entered(space):
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout or "[]")


def test_links(netlink: Netlink, space: int) -> None:
    index = netlink.add_link(
        "v0", "veth", index=77, peer="v1", mtu=1400, mac="02:00:00:00:00:07", alias="a word", up=True
    )
    [near] = told(space, "ip", "-d", "-j", "link", "show", "v0")
    [far] = told(space, "ip", "-d", "-j", "link", "show", "v1")
    assert index == near["ifindex"] == 77
    assert (near["address"], near["mtu"], near["ifalias"]) == ("02:00:00:00:00:07", 1400, "a word")
    assert (far["mtu"], far["ifalias"]) == (1400, "a word")
    assert all("UP" in end["flags"] for end in (near, far))
    assert netlink.link("v1").peer == 77
    assert netlink.link(77).kind == "veth"
    netlink.set_link(77, up=False, mtu=1300)
    assert (netlink.link(77).up, netlink.link(77).mtu) == (False, 1300)
    netlink.delete_link(77)
    assert [link.name for link in netlink.links()] == ["lo"]


def test_a_refused_link_leaves_nothing(netlink: Netlink) -> None:
    with pytest.raises(OSError, match=r"Invalid argument|out of range"):
        netlink.add_link("v0", "veth", peer="v1", alias="x" * 300)
    assert [link.name for link in netlink.links()] == ["lo"]


def test_errors_carry_the_kernels_words(netlink: Netlink, device: int) -> None:
    with pytest.raises(FileNotFoundError, match="kind is unknown"):
        netlink.add_qdisc(device, "nonsense")
    with pytest.raises(FileExistsError):
        netlink.add_link("eth0", "ifb")
    with pytest.raises(OSError, match="No such device"):
        netlink.link("nowhere")


def test_the_default_interface(netlink: Netlink, space: int, device: int) -> None:
    with entered(space):
        for command in ("addr add 10.1.0.1/24 dev eth0", "route add default via 10.1.0.2 metric 9"):
            subprocess.run(["ip", *command.split()], check=True)
    ours = netlink.add_link(names.device("ifb"), "ifb", alias=names.ALIAS)
    found = {interface.name: interface for interface in netlink.interfaces()}
    assert found["eth0"].default
    assert "10.1.0.1" in found["eth0"].addresses
    assert not found["far0"].default
    assert ours not in {interface.index for interface in found.values()}


def test_a_device_without_ipv6_says_nothing(netlink: Netlink) -> None:
    quiet = netlink.add_link("quiet", "ifb")
    netlink.without_ipv6(quiet)
    netlink.set_link(quiet, up=True)
    assert not [address for address in netlink.addresses() if address.index == quiet]


def test_offloads(netlink: Netlink, device: int) -> None:
    before = offloads.read(netlink.sock, "eth0")
    offloads.write(netlink.sock, "eth0", offloads.NONE)
    assert offloads.read(netlink.sock, "eth0") == offloads.NONE != before
    offloads.write(netlink.sock, "eth0", before)
    assert offloads.read(netlink.sock, "eth0") == before


def classes() -> list[Class]:
    database = Match(Ranges.of(0x0800), Ranges.of(TCP), PeerSet(Ranges.of(5)), Ranges.of(5432))
    return [
        Class("spared", "eth0", EGRESS, (Match(protocols=Ranges.of(1)),)),
        Class("database", "eth0", EGRESS, (database,), ("s",)),
        Class("rest", "eth0", EGRESS, (EVERYTHING,), ("s",)),
    ]


def hooked(netlink: Netlink, device: int, target: int) -> filters.Hooked:
    return filters.install(netlink, device, EGRESS, classes(), {"database": target, "rest": target})


def test_filters_are_held_and_tc_sees_them(netlink: Netlink, space: int, device: int) -> None:
    target = netlink.add_link("ifb9", "ifb", up=True)
    installed = hooked(netlink, device, target)
    assert {name: seen.held for name, seen in installed.read().items()} == dict.fromkeys(
        ("spared", "database", "rest"), True
    )
    seen = [entry for entry in told(space, "tc", "-j", "filter", "show", "dev", "eth0", "egress") if "options" in entry]
    assert [entry["protocol"] for entry in seen] == ["ip", "ipv6", "ip", "all"]
    assert [bool(entry["options"].get("actions")) for entry in seen] == [False, False, True, True]
    assert all(entry["pref"] in names.PRIORITIES for entry in seen)
    assert filters.ours(netlink, device, INGRESS) == []
    installed.remove()
    assert filters.ours(netlink, device, EGRESS) == []
    assert not any(seen.held for seen in installed.read().values())
    installed.remove()


def test_filters_of_another_agent_stay_though_they_stand_in_the_same_place(netlink: Netlink, device: int) -> None:
    target = netlink.add_link("ifb9", "ifb", up=True)
    old = hooked(netlink, device, target)
    filters.clear(netlink, device)
    new = hooked(netlink, device, target)
    assert not any(seen.held for seen in old.read().values())
    old.remove()
    assert all(seen.held for seen in new.read().values())


@pytest.mark.parametrize("change", ["removed", "target", "program"])
def test_a_changed_filter_is_not_held(netlink: Netlink, device: int, change: str) -> None:
    targets = [netlink.add_link(name, "ifb", up=True) for name in ("ifb8", "ifb9")]
    installed = hooked(netlink, device, targets[0])
    victim = filters.ours(netlink, device, EGRESS)[2]
    netlink.delete_filter(victim)
    if change != "removed":
        match = classes()[1].matches[0] if change == "target" else Match(Ranges.of(0x0800))
        [program] = bpf.compile_matches((match,), EGRESS)
        packed = clsbpf.options(program.code, names.CLASSES | 9, targets[change == "target"])
        netlink.add_filter(device, HOOK_EGRESS, victim.priority, "bpf", packed, protocol=0x0800)
    held = {name: seen.held for name, seen in installed.read().items()}
    assert held == {"spared": True, "database": False, "rest": True}


def test_new_filters_come_before_old_ones(netlink: Netlink, device: int) -> None:
    target = netlink.add_link("ifb9", "ifb", up=True)
    old = hooked(netlink, device, target)
    before = {entry.priority for entry in filters.ours(netlink, device, EGRESS)}
    new = hooked(netlink, device, target)
    added = {entry.priority for entry in filters.ours(netlink, device, EGRESS)} - before
    assert max(added) < min(before)
    old.remove()
    assert all(seen.held for seen in new.read().values())


def test_priorities_never_run_out(netlink: Netlink, device: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "PRIORITIES", range(0x4E00, 0x4E00 + 11))
    target = netlink.add_link("ifb9", "ifb", up=True)
    installed = hooked(netlink, device, target)
    for _ in range(20):
        following = hooked(netlink, device, target)
        installed.remove()
        installed = following
        assert all(seen.held for seen in installed.read().values())


def test_a_refused_list_leaves_nothing(netlink: Netlink, device: int) -> None:
    with pytest.raises(OSError, match="No such device"):
        filters.install(netlink, device, EGRESS, classes(), {"rest": 9999})
    assert filters.ours(netlink, device, EGRESS) == []


def test_foreign_filters_stay(netlink: Netlink, space: int, device: int) -> None:
    theirs = "tc filter add dev eth0 egress protocol ip prio 10 u32 match ip dport 80 0xffff"
    shaper = "tc qdisc add dev eth0 root handle 7: tbf rate 1gbit burst 9k limit 1m"
    with entered(space):
        subprocess.run(theirs.split(), check=True)
        subprocess.run(shaper.split(), check=True)
    before = told(space, "tc", "-j", "filter", "show", "dev", "eth0", "egress")
    hooked(netlink, device, netlink.add_link("ifb9", "ifb", up=True))
    for handle in (7, 7, 8):
        filters.let_marked_pass(netlink, device, handle)
    assert [entry.handle for entry in filters.ours(netlink, device, INGRESS)] == [8, 7], "one for each agent"
    assert list(filters.foreign(netlink, device)) == ["tbf at root", "u32 at egress, priority 10"]
    filters.clear(netlink, device)
    assert told(space, "tc", "-j", "filter", "show", "dev", "eth0", "egress") == before
    assert filters.ours(netlink, device, INGRESS) == []


def test_a_clsact_is_made_once(netlink: Netlink, device: int) -> None:
    assert not netlink.add_clsact(device)
    netlink.delete_clsact(device)
    assert netlink.add_clsact(device)


def test_the_probe_leaves_nothing_and_names_what_lacks() -> None:
    with Netlink.open() as netlink:
        before = {link.name for link in netlink.links()}
        found = probe()
        assert {link.name for link in netlink.links() if link.name.startswith(names.PREFIX + "try")} <= before
    assert found.kernel == os.uname().release
    assert "NET_ADMIN" in found.privileges
    for engine in found.engines:
        assert engine.available is not bool(engine.missing)


def test_a_starting_agent_leaves_devices_of_trials_to_the_child_that_makes_them(space: int, netlink: Netlink) -> None:
    """Without a namespace of its own for them, that child tries in the very one which its agent clears."""
    left = netlink.add_link(names.device("ifb"), "ifb", alias=names.ALIAS)
    tried = netlink.add_link(names.device("try"), "veth", peer=names.device("peer"), alias=names.ALIAS)
    ground = Netns(os.dup(space), lambda: probe().classifiers, Spares(Loop()))
    ground.clear()
    indexes = {link.index for link in netlink.links()}
    assert left not in indexes
    assert tried in indexes
    ground.leave()


def test_trials_remove_what_an_earlier_child_left(space: int, netlink: Netlink, monkeypatch: Any) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(namespace, "unshare", refuse)
    netlink.add_link(names.device("try"), "veth", peer=names.device("peer"), alias=names.ALIAS)
    with entered(space):
        found = try_all()
    assert (found["veth"], found["clsact"], found["filter"]) == ("", "", "")
    assert [link.name for link in netlink.links()] == ["lo"]


def test_two_agents_that_start_in_one_namespace_find_out_the_same(
    space: int, netlink: Netlink, monkeypatch: Any
) -> None:
    """The second one takes the first one's devices for left ones, where it has no namespace of its own for them."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(namespace, "unshare", refuse)
    with entered(space):
        alone = try_all()
        add_clsact, second = Netlink.add_clsact, []

        def interrupted(self: Netlink, index: int) -> bool:
            if not second:
                second.append({})
                second.append(try_all())
            return add_clsact(self, index)

        monkeypatch.setattr(Netlink, "add_clsact", interrupted)
        first = try_all()
    assert first == second[1] == alone
    assert alone["clsact"] == ""
    assert [link.name for link in netlink.links()] == ["lo"]


@pytest.mark.parametrize("queue", [0, 300])
def test_a_device_keeps_the_length_of_its_queue(queue: int, space: int, netlink: Netlink) -> None:
    """Docker makes its devices without one, and a clsact alone would give them one."""
    index = netlink.add_link("eth0", "veth", peer="far0", up=True)
    netlink.set_link(index, queue=queue)
    ground = Netns(os.dup(space), lambda: probe().classifiers, Spares(Loop()))
    [interface] = [one for one in ground.interfaces() if one.name == "eth0"]
    ground.ready(interface)
    assert netlink.link(index).queue == queue
    ground.leave()
    assert netlink.link(index).queue == queue
    [shown] = [link for link in told(space, "ip", "-j", "link") if link["ifname"] == "eth0"]
    assert shown.get("txqlen", 0) == queue


def test_packets_are_inside_of_no_device_but_an_ifb(space: int, netlink: Netlink, device: int) -> None:
    """What others count as received has not stayed in them."""
    far = netlink.link(netlink.link(device).peer)
    netlink.set_link(far.index, up=True)
    with entered(space), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((far.name, 0))
        for _ in range(100):  # the kernel sends some of its own, the other way
            wire.send(bytes(64))
    [seen] = told(space, "ip", "-j", "-s", "link", "show", "eth0")
    assert seen["stats64"]["rx"]["packets"] > seen["stats64"]["tx"]["packets"]
    assert netlink.link(device).inside == 0
