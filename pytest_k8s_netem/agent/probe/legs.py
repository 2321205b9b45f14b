"""Where a probe's packets pass besides the class that it is meant for: its answers, or the requests that fetch them."""

from __future__ import annotations

import socket

from pytest_k8s_netem.agent.probe.packets import ECHO, ECHO_REPLY, ECHO_REPLY_V6, ECHO_V6
from pytest_k8s_netem.model.match import ICMP, ICMPV6, IPV4, IPV6, TCP, Packet
from pytest_k8s_netem.model.plan import Direction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.model.plan import Check, Plan

HIGH = 61001
"""A port such as the prober chooses where the check names none."""


def other_leg(plan: Plan, check: Check) -> tuple[str, Direction]:
    """The class that the probe's packets pass in the other direction, and that direction; "" = none takes them."""
    own = next((entry for entry in plan.classes if entry.id == check.class_id), None)
    if own is None or not check.address:
        return "", Direction.EGRESS
    other = Direction.INGRESS if own.direction is Direction.EGRESS else Direction.EGRESS
    packet = _packet(check, other)
    for entry in plan.classes:
        here = (entry.interface, entry.direction) == (own.interface, other)
        if here and any(match.takes(packet) for match in entry.matches):
            return entry.id, other
    return "", other


def _packet(check: Check, direction: Direction) -> Packet:
    """Request or answer, by the direction in which it passes the target's interface."""
    v6 = ":" in check.address
    remote = int.from_bytes(socket.inet_pton(socket.AF_INET6 if v6 else socket.AF_INET, check.address), "big")
    ether_type = IPV6 if v6 else IPV4
    if check.kind == "icmp":
        kinds = (ECHO_V6, ECHO_REPLY_V6) if v6 else (ECHO, ECHO_REPLY)
        kind = kinds[direction is Direction.INGRESS]
        return Packet(ether_type, ICMPV6 if v6 else ICMP, remote, icmp_type=kind)
    ports = (HIGH, check.port) if check.local_port else (check.port, HIGH)
    return Packet(ether_type, TCP, remote, *ports)
