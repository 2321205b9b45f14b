"""conftest.py of the suites that are run to be killed: two pods, and signposts for whoever watches from outside."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

SIGNS = Path(os.environ["HOME"])
PATIENCE = 60.0


def say(sign: str) -> None:
    """Tell that we have come here."""
    (SIGNS / sign).touch()


def await_sign(sign: str) -> None:
    """Stay until the watcher says so."""
    deadline = time.monotonic() + PATIENCE
    while not (SIGNS / sign).exists():
        assert time.monotonic() < deadline, f"nobody said {sign}"
        time.sleep(0.005)


@pytest.fixture(scope="session")
def signs():
    return say, await_sign


@pytest.fixture(scope="module")
def pods(netem_cluster):
    """The pods ``web`` and ``db``; processes that ignore SIGTERM, so that only force ends them."""
    container = {"name": "main", "image": "none", "command": ["sh", "-c", "trap '' TERM HUP INT; sleep 1000"]}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    manifests = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}
        for name in ("web", "db")
    ]
    with netem_cluster.apply(manifests):
        netem_cluster.wait_ready()
        yield netem_cluster


@pytest.fixture
def send(pods):
    """Send datagrams from ``web`` to ``db``, where nobody listens."""
    import socket

    def go(count: int = 20) -> None:
        address = (pods.pod("db").ip, 9)
        with pods.pod("web").socket(type=socket.SOCK_DGRAM) as sender:
            for _ in range(count):
                try:
                    sender.sendto(b"x" * 100, address)
                except ConnectionRefusedError:
                    continue  # what came back for an earlier one

    return go


@pytest.fixture
def ping(pods):
    """Least round trip from ``web`` to ``db`` as the kernel's own clock measures it, ms; None = nothing came back."""
    import re

    def measure(count: int = 3) -> float | None:
        argv = ["ping", "-c", str(count), "-i", "0.05", "-W", "2", pods.pod("db").ip]
        output = pods.pod("web").exec(argv, check=False).stdout
        times = [float(text) for text in re.findall(r"time=([\d.]+)", output)]
        return min(times) if times else None

    return measure


def pytest_runtest_setup(item):
    say(f"setup-{item.name}")


def pytest_runtest_teardown(item):
    say(f"teardown-{item.name}")


def pytest_fixture_setup(fixturedef, request):
    if fixturedef.argname == "_netem_last":
        say(f"imposing-{request.node.name}")
