"""What other people put into a pod's network stays as it is, under impairments and after them."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from bounds import on_time
from network_state import network_state, without_clsact
from road import Road

IPTABLES = shutil.which("iptables")


def state(pod: Any) -> dict[str, Any]:
    return network_state(lambda *argv: pod.exec(argv, check=False).stdout)


ADD_FILTER = ("tc", "filter", "add", "dev", "eth0", "egress", "pref", "7", "protocol", "ip", "bpf", "da", "bytecode")
DROP_4001 = "4,40 0 0 36,21 0 1 4001,6 0 0 2,6 0 0 4294967295"
"""Load the UDP destination port; if it is 4001 TC_ACT_SHOT, else TC_ACT_UNSPEC."""
WORDS = [
    {"delay": "30ms", "jitter": "5ms", "direction": "both"},
    {"loss": "10%", "rate": "5mbit", "direction": "both", "ports": "udp/4000"},
    {"rtt": "20ms"},
]


def test_a_healed_namespace_is_as_it_was(road: Road, fresh_pod: Any) -> None:
    before = state(fresh_pod)
    seen = []
    for words in WORDS:
        with road.impair(pods=f"app={fresh_pod.name}", **({"to": "app=right"} if "rtt" in words else {}), **words):
            assert state(fresh_pod) != before
        seen.append(state(fresh_pod))
    assert seen[0] == seen[1] == seen[2]
    assert without_clsact(seen[0]) == before


def test_other_peoples_qdiscs_filters_and_rules_stay(road: Road, fresh_pod: Any) -> None:
    """A shaping root qdisc, filters on both hooks of a clsact of their own, a firewall rule."""
    for command in (
        "tc qdisc add dev eth0 root handle 77: tbf rate 100mbit burst 64kb latency 100ms",
        "tc qdisc add dev eth0 clsact",
        "tc filter add dev eth0 egress pref 7 protocol ip u32 match ip dport 4999 0xffff flowid 1:1",
        "tc filter add dev eth0 ingress pref 9 protocol ipv6 u32 match u32 0 0 flowid 1:1",
    ):
        fresh_pod.exec(command.split())
    if IPTABLES:
        fresh_pod.exec(["iptables", "-A", "OUTPUT", "-p", "udp", "--dport", "4999", "-j", "DROP"], check=False)
    before = state(fresh_pod)
    with road.impair(delay="30ms", direction="both", pods=f"app={fresh_pod.name}"):
        during = state(fresh_pod)
        for hook in ("eth0 egress", "eth0 ingress"):
            assert all(entry in during[hook] for entry in before[hook]), hook
        assert all(qdisc in during["qdiscs"] for qdisc in before["qdiscs"])
        for same in ("rules -4", "rules -6", "iptables", "eth0 offloads"):
            assert during.get(same) == before.get(same), same
        eth0 = [entry for entry in during["links"] if entry["ifname"] == "eth0"]
        assert eth0 == [entry for entry in before["links"] if entry["ifname"] == "eth0"]
    assert state(fresh_pod) == before


def test_an_impairment_adds_to_a_foreign_filter_that_lets_pass(road: Road, fresh_pod: Any) -> None:
    """Ours come first; what they do not take meets the others' as ever."""
    for command in (["tc", "qdisc", "add", "dev", "eth0", "clsact"], [*ADD_FILTER, DROP_4001]):
        fresh_pod.exec(command)
    with road.impair(delay="40ms", pods=f"app={fresh_pod.name}", to="app=right", ports="udp/4000"):
        on_time(road.flow(20, port=4000, source=fresh_pod).delays, 40)
        assert road.flow(20, port=4001, source=fresh_pod).arrivals == ()


@pytest.mark.parametrize("direction", ["egress", "ingress"])
def test_the_way_through_the_sink_changes_no_packet(road: Road, direction: str) -> None:
    """Sizes from nothing to more than a frame, with and without a fragment: all come as they were sent."""
    with road.impair(delay="10ms", **road.towards(direction)):
        for size in (12, 64, 1472, 1473, 9000):
            assert road.flow(10, direction=direction, size=size, pause=0.001).lost == 0
