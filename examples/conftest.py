"""What the examples share: an echo server and a client that measures with its own clock, each in a pod.

Programs travel as text (``python3 -c``), so that the same pods run with this machine's Python and in an image.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
IMAGE = "python:3.11-slim-bookworm"


def program(path: Path, *arguments: str) -> list[str]:
    """The command that runs a Python file in a pod."""
    return ["python3", "-c", path.read_text(encoding="utf-8"), *arguments]


def manifest(name: str, *command: str, port: int = 0, labels: dict | None = None, **container: object) -> dict:
    """A Pod whose one container runs ``command``; with ``port`` it is ready when that accepts connections."""
    if port:
        container["readinessProbe"] = {"tcpSocket": {"port": port}, "periodSeconds": 1}
    container.setdefault("resources", {"requests": {"cpu": "100m"}})  # or a busy node starves what runs beside it, too
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name, **(labels or {})}},
        "spec": {
            "containers": [{"name": name, "image": IMAGE, "command": list(command), **container}],
            "terminationGracePeriodSeconds": 1,
        },
    }


@pytest.fixture(scope="session")
def pod_manifest() -> Callable[..., dict]:
    """Make a Pod manifest: ``pod_manifest("web", "sleep", "infinity", port=80)``."""
    return manifest


@pytest.fixture(scope="session", name="program")
def _program() -> Callable[..., list[str]]:
    """The command that runs a Python file in a pod: ``program(path, "argument")``."""
    return program


@pytest.fixture(scope="session")
def images(netem_cluster) -> None:
    """The image of the examples' pods, on every node; nothing to do where no images run."""
    netem_cluster.load_image(IMAGE)


@pytest.fixture(scope="session")
def this_machines_programs(netem_cluster) -> None:
    """For pods that run what is installed on this machine, which an image has not."""
    if netem_cluster.provider not in ("local", "apiserver"):
        pytest.skip("these pods run programs of this machine; examples/redis_failover shows the same with an image")


@pytest.fixture(scope="module")
def echo(netem_cluster, images) -> Iterator:
    """Two echo servers and a client, ready, in namespace ``default``: the cluster."""
    serve = program(PROGRAMS / "echo.py")
    pods = [
        manifest("server", *serve, port=7),
        manifest("other", *serve, port=7),
        manifest("client", "sleep", "infinity"),
    ]
    with netem_cluster.apply(pods):
        netem_cluster.wait_ready()
        yield netem_cluster


@contextmanager
def awake() -> Iterator[None]:
    """Keep the one processor of a guest from sleeping between packets: it would wake late, and measure that too.

    A process does it that lets every other go first (SCHED_IDLE). Elsewhere it would take time from other containers.
    """
    if "NETEM_INSIDE_GUEST" not in os.environ:
        yield
        return
    with subprocess.Popen(["chrt", "--idle", "0", "sh", "-c", "while :; do :; done"]) as spinning:
        try:
            yield
        finally:
            spinning.kill()


@pytest.fixture
def measure(echo) -> Callable[..., dict]:
    """Run the client in its pod: ``measure("rtt", 50)``, ``measure("loss", 1000, to="other")``."""

    def run(what: str, count: int, to: str = "server", family: int = 4) -> dict:
        addresses = [ip for ip in echo.pod(to).ips if (":" in ip) == (family == 6)]
        if not addresses:
            pytest.skip(f"the pods of this cluster have no IPv{family} addresses")
        address = addresses[0]
        with awake():
            completed = echo.exec("client", program(PROGRAMS / "client.py", what, address, str(count)))
        return json.loads(completed.stdout)

    return run


@pytest.fixture
def talk(echo) -> Iterator[Callable[[], tuple[int, int]]]:
    """One connection from client to server that never rests: bytes sent and echoed so far."""
    with echo.spawn("client", program(PROGRAMS / "client.py", "talk", echo.pod("server").ip, "0")) as talking:

        def so_far() -> tuple[int, int]:
            lines = talking.logs.splitlines()
            return (*map(int, lines[-1].split()),) if lines else (0, 0)

        yield so_far


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
