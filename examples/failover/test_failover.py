"""A three-node group loses its leader to a partition, elects another, and agrees again when it is healed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import requests

NAMES = ("a", "b", "c")
PROGRAM = Path(__file__).parent / "replica.py"


@pytest.fixture
def group(netem_namespace, pod_manifest, program, images):
    objects = []
    for name in NAMES:
        others = [other for other in NAMES if other != name]
        objects.append(pod_manifest(name, *program(PROGRAM, name, *others), port=80))
        objects.append(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {"clusterIP": "None", "selector": {"app": name}, "ports": [{"port": 9000, "protocol": "UDP"}]},
            }
        )
    netem_namespace.apply(objects)
    netem_namespace.wait_ready()
    return netem_namespace


@pytest.fixture
def states(group):
    """Each member's state, asked out of band: a partition does not hide it."""

    def ask() -> dict[str, dict]:
        told = {}
        for name in NAMES:
            with group.forward(f"pod/{name}:80") as url:
                told[name] = requests.get(url, timeout=5).json()
        return told

    return ask


def until(condition, seconds: float = 20):
    """The first true answer; asking goes on for at most ``seconds``."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, "nobody agreed in time"
        time.sleep(0.05)
    return answer


def agreed(told: dict[str, dict], members=NAMES) -> str:
    """The leader on whom these members agree; "" if they do not."""
    leaders = {told[name]["leader"] for name in members}
    return leaders.pop() if len(leaders) == 1 and "" not in leaders else ""


def test_a_partitioned_leader_is_replaced_and_follows_when_healed(states, netem):
    first = until(lambda: agreed(states()))
    rest = [name for name in NAMES if name != first]
    with netem.partition(f"app={first}", [f"app={name}" for name in rest]):
        until(lambda: agreed(states(), rest) in rest)
        assert states()[first]["leader"] == first, "the lonely leader knows nothing of it"
    last = until(lambda: agreed(states()))
    assert states()[first]["term"] == states()[last]["term"]
