"""Runs that are killed, and a node that stands still: the cluster is healed with nobody there, when leases end.

All of that at once, for a lease takes its time.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from declaring import gone
from innerrun import InnerRun, until
from processes import started
from standstill import LEASE, MORE, node_ready, paused_node

from pytest_k8s_netem.api.protocol import NAMESPACES
from pytest_k8s_netem.kube.sweeping import sweep

OWN = """
import pathlib, os

def test_own(netem_namespace, body):
    (pathlib.Path(os.environ["NETEM_TEST_SIGNS"]) / "namespace").write_text(netem_namespace.name)
    body()
"""


@dataclass
class Deaths:
    """What has been killed, and who watches.

    :ivar victims: clients whose run or worker was killed, with its process. :ivar two: of the worker that lives.
    :ivar survivor: its process. :ivar shared: the run of both. :ivar leases: those that were there before.
    """

    died: float
    victims: dict[Any, int]
    two: Any
    survivor: int
    shared: InnerRun
    leases: set[str]


@dataclass
class Standstill:
    """A client on a node that stood still beyond its lease, and the run that wanted it impaired."""

    client: Any
    run: InnerRun


@pytest.fixture(scope="module")
def ends(scene: Any, module_inner: Callable[..., InnerRun]) -> Iterator[tuple[Deaths, Standstill]]:
    """pytest, the xdist controller and one xdist worker are killed at the same moment, and a node stands still."""
    node = scene.node_without_controller()
    plain, main, one, two = scene.clients("plain", "main", "worker", "lives", node=scene.nodes.main)
    still = scene.client("still", node=node)
    leases = scene.leases()
    alone = module_inner(scene.test(plain))
    whole = module_inner(scene.test(main), "-n1")
    shared = module_inner(scene.test(one) + scene.test(two) + OWN, "-n2", "--dist=load")
    watched = module_inner(scene.test(still))
    victims = {plain: alone.reached("test_plain"), main: whole.process.pid, one: shared.reached("test_worker")}
    whole.reached("test_main")
    watched.reached("test_still")
    deaths = Deaths(0.0, victims, two, shared.reached("test_lives"), shared, leases)
    for client in (plain, main, one, two, still):
        client.impaired()
    for pid in victims.values():
        os.kill(pid, signal.SIGKILL)
    deaths.died = time.time()
    assert (alone.ended(10), whole.ended(10)) == (-signal.SIGKILL, -signal.SIGKILL)
    until(lambda: not started(victims[one]), lambda: "the worker lives")
    shared.reached("test_own")  # what begins looks at all nodes
    with paused_node(scene.nodes, node):
        until(lambda: not node_ready(scene, node), lambda: "nobody misses the node", 90)
    yield deaths, Standstill(still, watched)
    scene.remove([plain, main, one, two, still])


@pytest.mark.timeout(400)
def test_killed_runs_and_workers_are_healed_by_their_leases(scene: Any, ends: tuple[Deaths, Standstill]) -> None:
    """The run's other worker goes on, and the killed worker's replacement runs what is left."""
    deaths, _ = ends
    for client in deaths.victims:
        assert client.trace().slow(deaths.died), "it was in force when the run died"
        healed = client.trace().fast(deaths.died)
        assert healed, "it was not healed"
        assert healed[0] < deaths.died + LEASE + MORE
    assert started(deaths.survivor)
    assert not deaths.two.trace().fast(deaths.died), "the other worker's impairment was touched"
    run = deaths.shared
    run.allow()
    run.ended()
    assert "crashed while running" in run.output
    assert "PASSED test_it.py::test_lives" in run.output
    deaths.two.healed(time.time() + 5)
    for client in (*deaths.victims, deaths.two):
        gone(scene, client)
    own = (run.folder / "namespace").read_text()
    until(lambda: own not in {obj["metadata"]["name"] for obj in scene.listed(NAMESPACES)}, lambda: own, 60)
    until(lambda: len(swept(scene) - deaths.leases) == 1, scene.leases, 60)  # of the run that the node's test watches


def swept(scene: Any) -> set[str]:
    """Leases that are there after a sweep; it takes those of the killed."""

    async def done() -> list[str]:
        return [line async for line in sweep(scene.cluster._provider.api)]

    scene.cluster._portal.call(done())
    return set(scene.leases())


def test_a_node_that_stands_still_beyond_the_lease_is_told(scene: Any, ends: tuple[Deaths, Standstill]) -> None:
    _, still = ends
    until(lambda: node_ready(scene, still.client.node), lambda: "the node does not come back", 60)
    still.run.allow()
    assert still.run.ended() == 1, still.run.output
    told = rf"lost from \S+ to (\d\S+|the end) on pod/{scene.namespace.name}/still"
    assert re.search(told, still.run.output), still.run.output
    assert re.search(r"1 passed, 1 error", still.run.output), still.run.output
    still.client.healed(time.time() + 5)
    gone(scene, still.client)
