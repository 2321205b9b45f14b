"""Several profiles on one pod: they add, they nest, and a packet meets each of them once."""

from __future__ import annotations

import pytest
from bounds import on_time
from road import Road

from pytest_k8s_netem.errors import NetemError


@pytest.mark.parametrize("direction", ["egress", "ingress"])
def test_two_add(road: Road, direction: str) -> None:
    way = road.towards(direction)
    with road.impair(delay="20ms", **way), road.impair(delay="30ms", **way):
        on_time(road.flow(50, direction=direction).delays, 50)
        if road.engine == "kernel":
            assert sorted(o["delay"]["delay"] for o in road.netems()) == pytest.approx([0.02, 0.03])
    on_time(road.flow(50, direction=direction).delays, 0)


@pytest.mark.parametrize("inner_first", [False, True])
def test_one_inside_the_other(road: Road, inner_first: bool) -> None:
    outer = {"delay": "20ms", "jitter": "1us"}
    inner = {"delay": "60ms", "ports": "udp/4000"}
    first, second = (inner, outer) if inner_first else (outer, inner)
    if inner_first and road.engine == "kernel":
        # Behind the narrow profile and alone beside it: the wide one would stand in two places.
        with road.impair(**first) as narrow, pytest.raises(NetemError) as refused, road.impair(**second):
            pass
        assert narrow.object["metadata"]["name"].split("-")[0] in str(refused.value)
        return
    with road.impair(**first), road.impair(**second):
        on_time(road.flow(50, port=4000).delays, 80 - 0.001)
        on_time(road.flow(50, port=4001).delays, 20 - 0.001)
        assert max(road.flow(50, port=4001).delays) < 80
    on_time(road.flow(50, port=4000).delays, 0)


def test_overlaps_that_cannot_nest_are_refused_or_add(road: Road) -> None:
    """Neither contains the other, both have state: two queues in the kernel, which the other engine does not need."""
    peer = {"name": "peer", "delay": "20ms", "jitter": "1us", "to": "app=right"}
    port = {"name": "port", "delay": "40ms", "jitter": "1us", "to": ["app=right", "app=other"], "ports": "udp/4000"}
    if road.engine == "kernel":
        with road.impair(**peer), pytest.raises(NetemError) as refused, road.impair(**port):
            pass
        assert "peer" in str(refused.value)
        assert "port" in str(refused.value)
        on_time(road.flow(20).delays, 0)
        return
    with road.impair(**peer), road.impair(**port):
        on_time(road.flow(20, port=4000).delays, 60 - 0.002)
        on_time(road.flow(20, port=4001).delays, 20 - 0.001)
        on_time(road.flow(20, port=4000, to=road.other).delays, 40 - 0.001)


def test_overlaps_without_state_add_on_both_engines(road: Road) -> None:
    with road.impair(delay="20ms"), road.impair(delay="40ms", to=["app=right", "app=other"], ports="udp/4000"):
        on_time(road.flow(20, port=4000).delays, 60)
        on_time(road.flow(20, port=4001).delays, 20)
        on_time(road.flow(20, port=4000, to=road.other).delays, 40)


@pytest.mark.parametrize("family", [4, 6])
def test_a_packet_meets_a_profile_once_though_both_ends_are_selected(road: Road, family: int) -> None:
    with road.impair(delay="60ms", pods=["app=left", "app=right"], direction="both"):
        for direction in ("egress", "ingress"):
            delays = road.flow(50, direction=direction, family=family).delays
            on_time(delays, 60)
            assert sorted(delays)[25] < 120


def test_two_ends_by_two_profiles_add(road: Road) -> None:
    with road.impair(delay="20ms"), road.impair(delay="30ms", pods="app=right", from_="app=left"):
        on_time(road.flow(50).delays, 50)
