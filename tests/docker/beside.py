"""Containers as the machine's root sees them from outside: made, measured, looked into, removed."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IMAGE = "python:3.11-slim-bookworm"
PROGRAMS = Path(__file__).parents[2] / "examples" / "programs"
HELPER = "k8s-netem.riasc.eu/attached"


def docker(*argv: str, check: bool = True, timeout: float = 120) -> str:
    """What the command says; "" where it fails and that is not checked."""
    done = subprocess.run(["docker", *argv], check=False, capture_output=True, text=True, timeout=timeout)
    assert not check or done.returncode == 0, f"docker {' '.join(argv)[:200]}: {done.stderr[-2000:]}"
    return done.stdout.strip() if done.returncode == 0 else ""


def program(name: str, *arguments: str) -> list[str]:
    return ["python3", "-c", (PROGRAMS / name).read_text(encoding="utf-8"), *arguments]


@dataclass(frozen=True)
class Pair:
    """An echo server and a client, by name."""

    server: str
    client: str
    network: str

    @property
    def names(self) -> tuple[str, str]:
        return self.server, self.client

    @property
    def environment(self) -> dict[str, str]:
        return {"SERVER": self.server, "CLIENT": self.client, "NETWORK": self.network, "PROGRAMS": str(PROGRAMS)}

    def serves(self) -> bool:
        """Whether the client's connection is answered."""
        argv = program("client.py", "rtt", address(self.server), "1")
        return bool(docker("exec", self.client, *argv, check=False))

    def rtt(self, count: int = 5) -> float:
        """Milliseconds by the client's own clock, median."""
        seen = docker("exec", self.client, *program("client.py", "rtt", address(self.server), str(count)))
        return statistics.median(json.loads(seen)["rtts"]) * 1000


@contextmanager
def pair(token: str) -> Iterator[Pair]:
    """Both, running, on a network of their own."""
    made = Pair(f"netem-test-server-{token}", f"netem-test-client-{token}", f"netem-test-{token}")
    docker("network", "create", made.network)
    try:
        # --init: the echo server and sleep take no SIGTERM as process 1, and docker stop would wait for 10 s.
        beginning = ["run", "--detach", "--init", "--network", made.network, "--name"]
        docker(*beginning, made.server, "--label", "app=server", IMAGE, *program("echo.py"))
        docker(*beginning, made.client, "--label", "app=client", IMAGE, "sleep", "infinity")
        until(made.serves, "the server serves")
        yield made
    finally:
        docker("rm", "--force", *made.names, check=False)
        docker("network", "rm", made.network, check=False)


def address(name: str) -> str:
    return docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", name).split()[0]


def state(name: str) -> dict[str, Any]:
    """All that could be left in a container's network: devices, addresses, routes, qdiscs, filters.

    Less what another start of the container gives it anew: indexes and hardware addresses.
    """
    pid = docker("inspect", "--format", "{{.State.Pid}}", name)

    def inside(*argv: str) -> str:
        argv = ("nsenter", "-t", pid, "-n", *argv)
        shown = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        return re.sub(r"^\d+: |@if\d+|(?<=link/ether )[0-9a-f:]+", "", shown, flags=re.MULTILINE)

    links = [link["ifname"] for link in json.loads(inside("ip", "-j", "link"))]
    return {
        "links": inside("ip", "-d", "address"),
        "routes": inside("ip", "route"),
        "qdiscs": inside("tc", "qdisc"),
        "filters": {
            (link, hook): inside("tc", "filter", "show", "dev", link, hook)
            for link in links
            for hook in ("ingress", "egress")
            if "clsact" in inside("tc", "qdisc", "show", "dev", link)
        },
    }


def helpers() -> list[str]:
    """Names of helper containers that are there, whoever made them."""
    return docker("ps", "--all", "--filter", f"label={HELPER}", "--format", "{{.Names}}").split()


def until(condition: Callable[[], bool], what: str | Callable[[], str], seconds: float = 30) -> None:
    """Wait for it."""
    began = time.monotonic()
    while not condition():
        late = time.monotonic() - began > seconds
        assert not late, f"not after {seconds:g} s: {what if isinstance(what, str) else what()}"
        time.sleep(0.05)
