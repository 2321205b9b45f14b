"""Changes under traffic: nothing is lost, doubled or overtaken because of them; timelines; refusals half-way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bounds import EARLY, on_time
from road import PORT, Arrival, Road, Stream, address, arrivals

from pytest_k8s_netem.errors import ImpairmentError, NetemError

STEADY = {"delay": "30ms"}


class Load:
    """Traffic at 2,000 packets a second, and what became of it."""

    def __init__(self, road: Road, direction: str = "egress") -> None:
        source, target = road.ends(direction)
        self._kernel = road.engine == "kernel"
        self._there = road.receiver(target)
        here = road.socket(source)
        here.connect((address(target), PORT))
        self.stream = Stream(here)
        self.arrivals: list[Arrival] = []

    def settle(self) -> None:
        self.arrivals = list(arrivals(self._there, 0.4))

    def assert_whole(self, *, one_queue: bool = True) -> None:
        """All came, once, in order.

        Where the kernel has a queue before and one after the change, both catch up after a stall, in either order: who
        is late may be overtaken there.
        """
        if one_queue or not self._kernel:
            assert [arrival.number for arrival in self.arrivals] == list(range(self.stream.sent))
        self.assert_complete()

    def assert_complete(self) -> None:
        """All came, once."""
        assert sorted(arrival.number for arrival in self.arrivals) == list(range(self.stream.sent))


@contextmanager
def load(road: Road, direction: str = "egress") -> Iterator[Load]:
    made = Load(road, direction)
    with made.stream:
        made.stream.reaches(200)
        yield made
        made.stream.reaches(200)
    made.settle()


@pytest.mark.parametrize("direction", ["egress", "ingress"])
@pytest.mark.parametrize(
    "change",
    [
        {"limit": 5000},
        {"rate": "1gbit"},
        {"ports": f"udp/{PORT}"},
        {"loss": "0.000001%"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_update_loses_and_reorders_nothing(road: Road, direction: str, change: dict[str, Any]) -> None:
    with road.impair(**STEADY, **road.towards(direction)) as profile:
        with load(road, direction) as traffic:
            profile.update(**change)
        traffic.assert_whole(one_queue="loss" not in change)  # packets that count are parted: by another device
        on_time([arrival.delay for arrival in traffic.arrivals], 30)


def test_a_longer_delay_begins_with_a_packet_and_holds(road: Road) -> None:
    with road.impair(**STEADY) as profile:
        with load(road) as traffic:
            profile.update(delay="90ms")
        traffic.assert_whole()
    delays = [arrival.delay for arrival in traffic.arrivals]
    assert min(delays) >= 30 - EARLY
    assert delays[-1] >= 90 - EARLY
    changed = next(at for at, delay in enumerate(delays) if delay >= 90 - EARLY)
    assert min(delays[changed:]) >= 90 - EARLY


def test_a_shorter_delay_loses_nothing(road: Road) -> None:
    with road.impair(delay="90ms") as profile:
        with load(road) as traffic:
            profile.update(delay="30ms")
        traffic.assert_complete()
        assert 30 - EARLY <= traffic.arrivals[-1].delay < 90


@pytest.mark.parametrize("direction", ["egress", "ingress"])
def test_a_neighbours_coming_and_going_is_not_felt(road: Road, direction: str) -> None:
    way = road.towards(direction)
    with road.impair(**STEADY, **way):
        with load(road, direction) as traffic, road.impair(delay="5ms", ports="tcp/80", **way):
            traffic.stream.reaches(100)
        traffic.assert_whole(one_queue=False)
        on_time([arrival.delay for arrival in traffic.arrivals], 30)


def test_healing_loses_nothing(road: Road) -> None:
    with load(road) as traffic, road.impair(**STEADY):
        traffic.stream.reaches(100)
    traffic.assert_complete()
    assert traffic.arrivals[-1].delay < 30


def _flexe(*profiles: dict[str, float], engine: str) -> dict[str, Any]:
    entries = [{"name": f"part-{at}", "parameters": part} for at, part in enumerate(profiles)]
    peer = {"podSelector": {"matchLabels": {"app": "right"}}}
    return {
        "apiVersion": "k8s-netem.riasc.eu/v1",
        "kind": "TrafficProfile",
        "metadata": {"name": "flexe"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "left"}},
            "type": "Flexe",
            "engine": engine,
            "parameters": {"segments": [{"repeat": True}], "profiles": entries},
            "egress": [{"to": [peer]}],
        },
    }


def test_a_timeline_runs_in_time(road: Road) -> None:
    """Half a second each: what is sent over three seconds meets both, changes about every half, loses nothing."""
    parts = ({"runTime": 0.5, "delay": 10}, {"runTime": 0.5, "delay": 60})
    with road.impair_with(profile=_flexe(*parts, engine=road.engine)):
        flow = road.flow(600, pause=0.005)
    assert sorted(flow.numbers) == list(range(600))
    short = [delay < 60 - EARLY for delay in (arrival.delay for arrival in sorted(flow.arrivals, key=_number))]
    assert min(flow.delays) >= 10 - EARLY
    assert 600 * 0.3 < sum(short) < 600 * 0.7
    changes = sum(a != b for a, b in itertools.pairwise(short))
    assert changes >= 4


def _number(arrival: Arrival) -> int:
    return arrival.number


def test_a_refused_update_leaves_what_was(road: Road) -> None:
    with road.impair(delay="40ms") as profile:
        with pytest.raises(NetemError, match="eth9"):
            profile.update(interface="eth9")
        on_time(road.flow(20).delays, 40)
        profile.update(delay="20ms")
        on_time(road.flow(20).delays, 20)


def test_a_plan_refused_by_one_pods_kernel_is_rolled_back_on_all(road: Road, fresh_pod: Any) -> None:
    """An ``ingress`` qdisc stands where clsact would: the kernel refuses, the pod that could be impaired is not."""
    fresh_pod.exec(["tc", "qdisc", "add", "dev", "eth0", "ingress"])
    with (
        pytest.raises(ImpairmentError, match=fresh_pod.name) as refused,
        road.impair(delay="40ms", pods=["app=left", f"app={fresh_pod.name}"], to="app=right"),
    ):
        pass
    assert "ingress" in str(refused.value)
    on_time(road.flow(20).delays, 0)
    for pod in (road.left, fresh_pod):
        assert devices(pod) == {"lo", "eth0"}


def devices(pod: Any) -> set[str]:
    return {line.split(":")[1].strip().partition("@")[0] for line in pod.exec(["ip", "-o", "link"]).stdout.splitlines()}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ordered", {"delay": "10ms", "jitter": "5ms", "ordered": True}),
        ("loss.EveryNth", {"loss_model": "every-nth 10"}),
    ],
)
def test_what_the_page_says_is_refused_is(road: Road, lacks: dict[str, str], name: str, words: dict[str, Any]) -> None:
    if name not in lacks:
        with road.impair(**words):
            assert road.flow(20).arrivals
        return
    with pytest.raises(NetemError, match=name), road.impair(**words):
        pass
    on_time(road.flow(20).delays, 0)
    assert road.netems() == []
