"""The lane on a real cluster: ``pytest --netem-provider kind tests/kind``; it is left out with another provider."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "cluster"))
sys.path.insert(0, str(Path(__file__).parents[1] / "cluster" / "effects"))
import nodes

from pytest_k8s_netem.kube import sidecar

HERE = Path(__file__).parent
IMAGE = "python:3.11-slim-bookworm"
PROGRAMS = HERE.parents[1] / "examples" / "programs"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The plugin's options decide on what cluster these tests run, so they cannot choose one by themselves."""
    if config.getoption("netem_provider") == "kind":
        return
    elsewhere = [item for item in items if item.path.is_relative_to(HERE)]
    items[:] = [item for item in items if item not in elsewhere]
    config.hook.pytest_deselected(items=elsewhere)


def program(name: str, *arguments: str) -> list[str]:
    return ["python3", "-c", (PROGRAMS / name).read_text(encoding="utf-8"), *arguments]


def pod(name: str, *command: str, **spec: Any) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "main", "image": IMAGE, "command": list(command)}
    container["resources"] = {"requests": {"cpu": "100m"}}
    metadata = {"name": name, "labels": {"app": name}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1, **spec},
    }


@pytest.fixture(scope="session", name="pod")
def _pod() -> Callable[..., dict[str, Any]]:
    return pod


@pytest.fixture(scope="session")
def image() -> str:
    """Of the tests' pods."""
    return IMAGE


@pytest.fixture(scope="module")
def netem_nodes(netem_cluster: Any) -> Iterator[list[str]]:
    """Two nodes whose kernel has netem, with the images that pods need there."""
    with nodes.with_netem(netem_cluster, IMAGE, netem_cluster._provider.agent_image) as names:
        yield names


@pytest.fixture(scope="module")
def pair(netem_cluster: Any) -> Iterator[Any]:
    """A client and an echo server, on two nodes where there are two: the cluster."""
    netem_cluster.load_image(IMAGE)
    apart = {"labelSelector": {"matchLabels": {"app": "server"}}, "topologyKey": "kubernetes.io/hostname"}
    wish = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": apart}]}
    server = pod("server", *program("echo.py"))
    server["spec"]["containers"][0]["readinessProbe"] = {"tcpSocket": {"port": 7}, "periodSeconds": 1}
    with netem_cluster.apply(server):
        netem_cluster.wait_ready("app=server")
        with netem_cluster.apply(pod("client", "sleep", "infinity", affinity={"podAntiAffinity": wish})):
            netem_cluster.wait_ready()
            yield netem_cluster


@pytest.fixture(scope="session")
def injected(netem_cluster: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Give a manifest the sidecar, as admission would."""

    def change(manifest: dict[str, Any]) -> dict[str, Any]:
        for step in sidecar.patch(manifest, "default", netem_cluster._provider.agent_image):
            manifest["spec"].setdefault(step["path"].split("/")[2], [])[:0] = (
                step["value"] if isinstance(step["value"], list) else [step["value"]]
            )
        return manifest

    return change


@pytest.fixture
def rtt(pair: Any) -> Callable[..., float]:
    """A client's own echo round trip, median, in milliseconds."""

    def measure(of: Any = None) -> float:
        seen = (of or pair.pod("client")).exec(program("client.py", "rtt", pair.pod("server").ip, "10"))
        return statistics.median(json.loads(seen.stdout)["rtts"]) * 1000

    return measure


@pytest.fixture
def node(pair: Any) -> Callable[..., str]:
    """Run a command on the control plane's node, past Kubernetes."""
    name = f"{pair._provider.cluster.name}-control-plane"

    def run(*argv: str, check: bool = True) -> str:
        return subprocess.run(["docker", "exec", name, *argv], check=check, capture_output=True, text=True).stdout

    return run
