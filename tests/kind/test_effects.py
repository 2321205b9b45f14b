"""Each effect in real pods on two nodes, both ways, to a pod's address and through a Service.

Judged by what the peer captured and by the client's clock, never by the agent; every statistical bound is missed by a
right implementation less than once in a million tests. On nodes whose kernel has netem the kernel engine does it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bounds
import pytest
from bounds import LATE, none_early, on_time, share
from nodes import ordinary
from pod_road import PodRoad, service

from pytest_k8s_netem.api.protocol import SERVICES

PROGRAM = Path(__file__).parent / "road_end.py"
pytestmark = pytest.mark.timeout(600)  # nodes may join for it
ENDS = ("left", "right")
WAYS = pytest.mark.parametrize("direction", ["egress", "ingress"])
THROUGH = ("pod", "service")


@pytest.fixture(scope="module", params=["userspace", "kernel"])
def engine(request: pytest.FixtureRequest) -> str:
    """What is at work on the nodes at hand: ``auto`` takes the kernel's where there is one."""
    return request.param


@pytest.fixture(scope="module")
def pods(request: pytest.FixtureRequest, netem_cluster: Any, engine: str, pod: Any) -> Iterator[None]:
    """``left`` and ``right`` on nodes of one kind, each with its Service."""
    nodes = request.getfixturevalue("netem_nodes") if engine == "kernel" else ordinary(netem_cluster)
    netem_cluster.load_image(request.getfixturevalue("image"))
    command = ["python3", "-c", PROGRAM.read_text(encoding="utf-8")]
    objects = [service(name) for name in ENDS]
    for name, node in zip(ENDS, nodes, strict=True):
        end = pod(name, *command, nodeName=node)
        [container] = end["spec"]["containers"]
        container["readinessProbe"] = {"tcpSocket": {"port": 80}, "periodSeconds": 1}
        container["securityContext"] = {"capabilities": {"add": ["NET_ADMIN"]}}  # for a large buffer
        objects.append(end)
    with netem_cluster.apply(objects):
        for name in ENDS:
            netem_cluster.wait_ready(f"app={name}", timeout=240)
        yield


@pytest.fixture
def road(netem_cluster: Any, netem: Any, pods: None) -> PodRoad:
    return PodRoad(netem_cluster, netem, {name: cluster_ip(netem_cluster, name) for name in ENDS})


def cluster_ip(cluster: Any, name: str) -> str:
    return str(cluster._portal.call(cluster._provider.api.get(SERVICES, name, "default"))["spec"]["clusterIP"])


@WAYS
def test_delay(road: PodRoad, direction: str, engine: str) -> None:
    with road.impair(direction, delay="60ms") as profile:
        assert profile.engine == engine
        for through in THROUGH:
            seen = road.flow(direction, through, 100)
            assert seen.taken.numbers == list(range(100))
            assert abs(seen.median_behind - 60) <= LATE
            on_time(seen.back.delays, 60)
    assert road.flow(direction, "service", 20).median_behind < 60


@WAYS
def test_jitter(road: PodRoad, direction: str) -> None:
    with road.impair(direction, delay="80ms", jitter="50ms"):
        for through in THROUGH:
            seen = road.flow(direction, through, 600)
            assert seen.taken.lost == 0
            assert seen.taken.overtaken > 50, "later ones overtake where they are so close"
            none_early(seen.back.delays, 30)
            bounds.distribution(seen.back.delays, lambda ms: min(max((ms - 30) / 100, 0), 1))


@WAYS
def test_loss(road: PodRoad, direction: str) -> None:
    with road.impair(direction, loss="20%"):
        for through in THROUGH:
            seen = road.flow(direction, through, 1000)
            share(seen.taken.lost, 1000, 0.2)
            assert seen.taken.doubled == 0
            assert seen.back.lost == seen.taken.lost, "the other way is not touched"


@WAYS
def test_rate(road: PodRoad, direction: str) -> None:
    """8 ms a frame of 1,000 bytes; the middle half, so that neither a late start nor a late end is counted."""
    with road.impair(direction, rate="1mbit", limit=200):
        for through in THROUGH:
            seen = road.flow(direction, through, 80, size=958, pause=0, twins=False)
            assert seen.taken.numbers == list(range(80))
            for flow in (seen.taken, seen.back):
                span = (flow.arrivals[60].taken - flow.arrivals[20].taken) / 1e6
                assert abs(span - 40 * 8) <= 2 * LATE
            first, last = min(seen.back.arrivals, key=lambda back: back.sent), seen.back.arrivals[-1]
            assert (last.taken - first.sent) / 1e6 >= 80 * 8 - 1, "by the client's clock, too"


def test_partition(road: PodRoad) -> None:
    """Silent both ways, and whole again after it."""
    with road.partition():
        for direction in ("egress", "ingress"):
            for through in THROUGH:
                seen = road.flow(direction, through, 100, twins=False)
                assert seen.taken.arrivals == seen.back.arrivals == ()
    for direction in ("egress", "ingress"):
        for through in THROUGH:
            assert road.flow(direction, through, 100).back.lost == 0


@WAYS
def test_blackhole_of_one_way(road: PodRoad, direction: str) -> None:
    back = {"egress": "ingress", "ingress": "egress"}[direction]
    with road.impair(direction, loss="100%"):
        for through in THROUGH:
            assert road.flow(direction, through, 100).taken.arrivals == ()
            seen = road.flow(back, through, 100)
            assert seen.taken.lost == 0, "what goes the other way arrives"
            assert seen.back.arrivals == (), "but no answer"


@WAYS
def test_duplicates(road: PodRoad, direction: str) -> None:
    with road.impair(direction, duplicate="20%"):
        for through in THROUGH:
            seen = road.flow(direction, through, 1000)
            share(seen.taken.doubled, 1000, 0.2)
            assert seen.taken.lost == 0
            assert len(seen.taken.arrivals) == len(seen.back.arrivals) == 1000 + seen.taken.doubled


@WAYS
def test_corruption(road: PodRoad, direction: str) -> None:
    """A flipped bit fails a checksum, unless it is one of the 14 bytes of 106 that are Ethernet's."""
    with road.impair(direction, corrupt="20%"):
        for through in THROUGH:
            lost = road.flow(direction, through, 1500).taken.lost
            spread = bounds.SIGMAS * (1500 * 0.2 * 0.8) ** 0.5
            assert 1500 * 0.2 * 92 / 106 - spread <= lost <= 1500 * 0.2 + spread


@WAYS
def test_reordering(road: PodRoad, direction: str) -> None:
    """Three in ten skip the delay, and so overtake those before them."""
    with road.impair(direction, delay="200ms", reorder="30%"):
        for through in THROUGH:
            seen = road.flow(direction, through, 800)
            assert seen.taken.lost == seen.taken.doubled == 0
            for delays in (seen.behind, seen.back.delays):
                share(sum(delay < 100 for delay in delays), 800, 0.3)
            none_early([delay for delay in seen.back.delays if delay >= 100], 200)
            assert seen.taken.overtaken > 100


def test_replies_of_a_service_are_met_where_they_arrive(road: PodRoad) -> None:
    """They come from the Service's address, which the profile has not named."""
    with road.impair("ingress", delay="60ms"):
        seen = road.flow("egress", "service", 100)
    on_time(seen.back.delays, 60)
    assert abs(statistics.median(seen.behind)) < 30, "the requests were not"
