"""Redis in a container of Testcontainers, on a slow, a lossy and a broken network: no proxy, no other address."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator

import pytest

redis = pytest.importorskip("redis")
containers = pytest.importorskip("testcontainers.community.redis")

IMAGE = os.environ.get("NETEM_REDIS_IMAGE", "redis:7")


@pytest.fixture(scope="module")
def store(netem_attach) -> Iterator:
    """The container, attached: its network can be impaired as ``container/redis``."""
    with containers.RedisContainer(IMAGE) as container, netem_attach(container, as_="redis"):
        yield container


@pytest.fixture
def client(store) -> Iterator:
    """A client of this very process, by the port that Docker publishes."""
    where = {"host": store.get_container_host_ip(), "port": int(store.get_exposed_port(6379))}
    quick = {"socket_timeout": 1, "socket_connect_timeout": 1, "retry": None}
    with redis.Redis(**where, **quick) as connected:
        connected.ping()
        yield connected


@pytest.fixture
def milliseconds(client) -> Callable[[], float]:
    """How long a command takes by the client's clock, median of ten."""

    def measure() -> float:
        times = []
        for _ in range(10):
            start = time.perf_counter()
            client.incr("visits")
            times.append(time.perf_counter() - start)
        return statistics.median(times) * 1000

    return measure


def test_healthy(milliseconds):
    assert milliseconds() < 50


@pytest.mark.netem(delay="100ms", pods="container/redis")
def test_slow(milliseconds):
    assert milliseconds() >= 100


@pytest.mark.netem(rtt="60ms", pods="container/redis", ports="tcp/6379")
def test_slow_both_ways(milliseconds, netem_profile):
    assert milliseconds() >= 60
    netem_profile.update(rtt="120ms")
    assert milliseconds() >= 120


@pytest.mark.netem(loss="5%", pods="container/redis", unexercised="ignore")
def test_tcp_hides_loss(client):
    assert [client.incr("counted") for _ in range(50)][-1] >= 50


def test_cut_off(client, netem):
    with netem.blackhole("container/redis"), pytest.raises(redis.exceptions.RedisError):
        client.ping()
    assert client.ping()
