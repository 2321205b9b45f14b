"""One packet between two pods, watched at both ends with one clock; a packet is late, or it is not."""

from __future__ import annotations

import select
import socket
import time
from contextlib import ExitStack
from typing import Any

LATE = "200ms"
"""The delay that tests ask for: so long that no busy machine makes a packet as late by itself."""
MS = 200.0
PATIENCE = 20.0
"""Seconds until a condition must hold; a bound for broken code."""
VANISHED = 1.0
"""Seconds after which a packet on a wire without any delay has been lost, not late."""


def manifest(name: str, app: str = "", *, kind: str = "Pod", replicas: int = 0, **labels: str) -> dict[str, Any]:
    """A Pod, or with ``replicas`` a Deployment, that does nothing: tests speak through its network themselves."""
    labels = {"app": app or name, **labels}
    spec = {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": "none", "command": ["sleep", "infinity"]}],
    }
    if not replicas:
        return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec}
    template = {"metadata": {"labels": labels}, "spec": spec}
    deployment = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": deployment}


def service(name: str, app: str, port: int = 4000) -> dict[str, Any]:
    """A Service in front of the pods of an app."""
    spec = {"selector": {"app": app}, "ports": [{"port": port, "protocol": "UDP"}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def address(pod: Any, family: int = 4) -> str:
    return next(ip for ip in pod.ips if (":" in ip) == (family == 6))


def bound(pod: Any, port: int = 0, family: int = 4) -> socket.socket:
    """A UDP socket in a pod."""
    made = pod.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    made.bind(("", port))
    return made


def took(source: Any, target: Any, *, port: int = 4000, own: int = 0, family: int = 4, within: float = 5.0) -> float:
    """ms that a datagram takes from pod to pod; infinite if it does not arrive within that many seconds."""
    with bound(target, port, family) as there, bound(source, own, family) as here:
        start = time.perf_counter()
        here.sendto(b"x", (address(target, family), port))
        if not select.select([there], [], [], within)[0]:
            return float("inf")
        return (time.perf_counter() - start) * 1000


def late(source: Any, target: Any, **how: Any) -> bool:
    """Whether a datagram was as late as :data:`LATE` says; none is allowed to vanish."""
    ms = took(source, target, **how)
    assert ms != float("inf"), f"nothing came from {source} to {target}"
    return ms >= MS


def arrives(source: Any, target: Any, **how: Any) -> bool:
    """Whether a datagram arrives."""
    return took(source, target, within=how.pop("within", VANISHED), **how) != float("inf")


def reached(*pairs: tuple[Any, Any], port: int = 4000, within: float = VANISHED) -> list[bool]:
    """For each (source, target) whether a datagram arrives; all are sent at once and share the wait.

    Targets that occur twice get the datagrams at ports of their own.
    """
    with ExitStack() as stack:
        theres = [stack.enter_context(bound(target, port + at)) for at, (_, target) in enumerate(pairs)]
        for at, (source, target) in enumerate(pairs):
            stack.enter_context(bound(source)).sendto(b"x", (address(target), port + at))
        missing, end = set(theres), time.monotonic() + within
        while missing and (left := end - time.monotonic()) > 0:
            missing -= set(select.select(list(missing), [], [], left)[0])
        return [there not in missing for there in theres]


def eventually(condition: Any) -> Any:
    """Wait for a condition; its value."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return found
