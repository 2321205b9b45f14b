"""All of a network namespace that an impairment could touch, by readers that know nothing of this project."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from typing import Any

_AGES = {
    *("bytes", "packets", "drops", "overlimits", "requeues", "backlog", "qlen", "stats", "cfg", "rates"),
    *("refcnt", "installed", "used", "expires", "num_tx_queues"),
}
"""What counts or ages by itself."""


def network_state(run: Callable[..., str]) -> dict[str, Any]:
    """Links, addresses, routes, rules, qdiscs, filters, offloads, sysctls and firewall, less what counts or ages.

    :param run: runs a command in the namespace; its output, "" if it fails.
    """

    def told(line: str) -> Any:
        return _still(json.loads(run(*line.split()) or "[]"))

    found = {
        "links": told("ip -j -d link"),
        "addresses": told("ip -j addr"),
        **{f"routes {family}": told(f"ip -j {family} route show table all") for family in ("-4", "-6")},
        **{f"rules {family}": told(f"ip -j {family} rule") for family in ("-4", "-6")},
        "qdiscs": told("tc -j qdisc show"),
        "sysctls": _sysctls(run),
    }
    for device in (link["ifname"] for link in found["links"]):
        for hook in ("ingress", "egress"):
            found[f"{device} {hook}"] = told(f"tc -j filter show dev {device} {hook}")
        if shutil.which("ethtool"):
            found[f"{device} offloads"] = run("ethtool", "-k", device)
    if shutil.which("iptables-save"):
        found["iptables"] = re.sub(r"(?m)^#.*\n|\[\d+:\d+\]", "", run("iptables-save"))
    return found


def without_clsact(state: dict[str, Any]) -> dict[str, Any]:
    """A state less the qdisc that stays for as long as the agent does."""
    return {**state, "qdiscs": [qdisc for qdisc in state["qdiscs"] if qdisc["kind"] != "clsact"]}


def _sysctls(run: Callable[..., str]) -> list[str]:
    values = run("grep", "-rs", "", "/proc/sys/net")  # fails as a whole, since some are only to be written
    return sorted(line for line in values.splitlines() if "_count:" not in line)


def _still(entries: Any) -> Any:
    if isinstance(entries, list):
        return [_still(entry) for entry in entries]
    if isinstance(entries, dict):
        return {key: _still(value) for key, value in entries.items() if key not in _AGES}
    return entries
