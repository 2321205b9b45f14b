"""What the examples share: an echo server and a client that measures with its own clock, each in a pod."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"


def manifest(name: str, *command: str, port: int = 0, labels: dict | None = None, **container: object) -> dict:
    """A Pod whose one container runs ``command``; with ``port`` it is ready when that accepts connections."""
    if port:
        container["readinessProbe"] = {"tcpSocket": {"port": port}, "periodSeconds": 1}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name, **(labels or {})}},
        "spec": {
            "containers": [
                {"name": name, "image": "python:3.11-slim-bookworm", "command": list(command), **container},
            ]
        },
    }


@pytest.fixture(scope="session")
def pod_manifest() -> Callable[..., dict]:
    """Make a Pod manifest: ``pod_manifest("web", "sleep", "infinity", port=80)``."""
    return manifest


@pytest.fixture(scope="module")
def echo(netem_cluster) -> Iterator:
    """Two echo servers and a client, ready, in namespace ``default``: the cluster."""
    serve = (sys.executable, str(PROGRAMS / "echo.py"))
    pods = [
        manifest("server", *serve, port=7),
        manifest("other", *serve, port=7),
        manifest("client", "sleep", "infinity"),
    ]
    with netem_cluster.apply(pods):
        netem_cluster.wait_ready()
        yield netem_cluster


@pytest.fixture
def measure(echo) -> Callable[..., dict]:
    """Run the client in its pod: ``measure("rtt", 50)``, ``measure("loss", 1000, to="other")``."""

    def run(what: str, count: int, to: str = "server", family: int = 4) -> dict:
        address = next(ip for ip in echo.pod(to).ips if (":" in ip) == (family == 6))
        completed = echo.exec("client", [sys.executable, str(PROGRAMS / "client.py"), what, address, str(count)])
        return json.loads(completed.stdout)

    return run


@pytest.fixture
def median_rtt(measure) -> Callable[..., float]:
    """The client's own echo round trip, median of ``count``, in milliseconds."""
    return lambda count=50, **where: statistics.median(measure("rtt", count, **where)["rtts"]) * 1000


@pytest.fixture
def lost_share(measure) -> Callable[..., float]:
    """The share of datagrams that did not come back."""

    def share(count: int = 2000, **where) -> float:
        seen = measure("loss", count, **where)
        return 1 - seen["echoed"] / seen["sent"]

    return share
