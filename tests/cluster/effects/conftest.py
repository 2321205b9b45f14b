"""Every test here runs on each engine; only what docs/reference/engines.md lists may be skipped."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import LISTED

sys.path.insert(0, str(Path(__file__).parent))
from matrix import listed
from road import Road

from pytest_k8s_netem.agent.capabilities import probe
from pytest_k8s_netem.model.capabilities import Capabilities
from pytest_k8s_netem.model.promises import SEEDED_SINCE, version


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "asks(*names): what of the vocabulary a test asks of an engine")


@pytest.fixture(scope="session")
def capabilities() -> Capabilities:
    """What this kernel can do, by trying."""
    return probe()


@pytest.fixture
def lacks(engine: str, capabilities: Capabilities) -> dict[str, str]:
    """What the documented matrix says that this engine cannot do on this kernel."""
    return listed(engine, version(capabilities.kernel) >= SEEDED_SINCE)


@pytest.fixture(autouse=True)
def _asks(request: pytest.FixtureRequest) -> None:
    """Skip what the matrix lists: ``@pytest.mark.asks("ordered")``."""
    names = [name for mark in request.node.iter_markers("asks") for name in mark.args]
    if not names:
        return
    lacks = request.getfixturevalue("lacks")
    for name in names:
        if name in lacks:
            pytest.skip(f"{LISTED}{name}: {lacks[name]}")


def _manifest(name: str, node: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "nodeName": f"node-{node}",
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "none", "command": ["sleep", "infinity"]}],
        },
    }


@pytest.fixture(scope="session")
def pods(netem_cluster: Any) -> Iterator[Any]:
    """The cluster with ``left`` on one node, ``right`` and ``other`` on another."""
    with netem_cluster.apply([_manifest("left", 0), _manifest("right", 1), _manifest("other", 1)]):
        netem_cluster.wait_ready()
        yield netem_cluster


@pytest.fixture
def road(pods: Any, netem: Any, engine: str) -> Iterator[Road]:
    made = Road(pods, netem, engine)
    yield made
    made.close()


@pytest.fixture
def fresh_pod(pods: Any) -> Iterator[Any]:
    """A pod of its own, beside ``left``, that no agent has touched yet."""
    name = f"fresh-{next(_numbers)}"
    with pods.apply(_manifest(name, 0)):
        pods.wait_ready(f"app={name}")
        yield pods.pod(name)


_numbers = itertools.count(1)
