"""All of a network namespace that an impairment could touch, by readers that know nothing of this project."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_AGES = {
    *("bytes", "packets", "drops", "overlimits", "requeues", "backlog", "qlen", "stats", "cfg", "rates"),
    *("refcnt", "installed", "used", "expires", "num_tx_queues"),
}
"""What counts or ages by itself."""


_OF_ALL = {
    "links": "ip -j -d addr",
    **{f"routes {family}": f"ip -j {family} route show table all" for family in ("-4", "-6")},
    **{f"rules {family}": f"ip -j {family} rule" for family in ("-4", "-6")},
    "qdiscs": "tc -j qdisc show",
}
_HOOKS = ("ingress", "clsact")
"""Qdiscs that filters of a device may stand in."""
_NEXT = "\x1e"


def network_state(run: Callable[..., str]) -> dict[str, Any]:
    """Links, addresses, routes, rules, qdiscs, filters, offloads, sysctls and firewall, less what counts or ages.

    :param run: runs a command in the namespace; its output, whatever its exit status.
    """
    told = _told(run, {**_OF_ALL, "sysctls": "grep -rs '' /proc/sys/net", "iptables": "iptables-save"})
    found: dict[str, Any] = {name: _json(told[name]) for name in _OF_ALL}
    found["sysctls"] = sorted(line for line in told["sysctls"].splitlines() if "_count:" not in line)
    found["iptables"] = re.sub(r"(?m)^#.*\n|\[\d+:\d+\]", "", told["iptables"])
    devices = [link["ifname"] for link in found["links"]]
    hooked = {qdisc["dev"] for qdisc in found["qdiscs"] if qdisc["kind"] in _HOOKS}
    hooks = {
        f"{device} {hook}": f"tc -j filter show dev {device} {hook}" if device in hooked else ":"
        for device in devices
        for hook in ("ingress", "egress")
    }
    offloads = {f"{device} offloads": f"ethtool -k {device}" for device in devices}
    told = _told(run, hooks | offloads)
    return found | {name: _json(told[name]) for name in hooks} | {name: told[name] for name in offloads}


def without_clsact(state: dict[str, Any]) -> dict[str, Any]:
    """A state less the qdisc that stays for as long as the agent does."""
    return {**state, "qdiscs": [qdisc for qdisc in state["qdiscs"] if qdisc["kind"] != "clsact"]}


def _told(run: Callable[..., str], lines: dict[str, str]) -> dict[str, str]:
    """What each command says, "" if there is no such program; by one shell: to enter a pod costs as much as they."""
    script = f"; printf '{_NEXT}'; ".join(f"{line} 2>/dev/null" for line in lines.values())
    return dict(zip(lines, run("sh", "-c", script).split(_NEXT), strict=True))


def _json(text: str) -> Any:
    return _still(json.loads(text or "[]"))


def _still(entries: Any) -> Any:
    if isinstance(entries, list):
        return [_still(entry) for entry in entries]
    if isinstance(entries, dict):
        return {key: _still(value) for key, value in entries.items() if key not in _AGES}
    return entries
