"""conftest.py of the suites that are run: the pair attached, and its round trip by the client's own clock."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from pathlib import Path

import pytest

SERVER, CLIENT = os.environ["SERVER"], os.environ["CLIENT"]
PROGRAM = Path(os.environ["PROGRAMS"], "client.py").read_text(encoding="utf-8")
SIGNS = Path(os.environ["HOME"])


def docker(*argv: str, check: bool = True) -> subprocess.CompletedProcess:
    return subprocess.run(["docker", *argv], check=check, capture_output=True, text=True, timeout=90)


@pytest.fixture(name="docker", scope="session")
def _docker():
    return docker


@pytest.fixture(scope="session")
def attached(netem_attach):
    """Server and client."""
    return netem_attach(SERVER, as_="server"), netem_attach(CLIENT, as_="client")


@pytest.fixture
def measure():
    """Run the client in its container, to the server's address: ``measure("rtt", 10)``."""

    def run(what: str, count: int, check: bool = True) -> dict | None:
        shown = docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", SERVER).stdout
        done = docker("exec", CLIENT, "python3", "-c", PROGRAM, what, shown.split()[0], str(count), check=check)
        return json.loads(done.stdout) if done.returncode == 0 else None

    return run


@pytest.fixture
def rtt(measure):
    """Median of ten, in milliseconds."""
    return lambda: statistics.median(measure("rtt", 10)["rtts"]) * 1000


def say(sign: str) -> None:
    """Tell that we have come here."""
    (SIGNS / sign).touch()


def await_sign(sign: str) -> None:
    """Stay until the watcher says so."""
    deadline = time.monotonic() + 120
    while not (SIGNS / sign).exists():
        assert time.monotonic() < deadline, f"nobody said {sign}"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def signs():
    return say, await_sign
