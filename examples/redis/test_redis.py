"""A real Redis under delay, loss and partition, with its ordinary Python client in another pod."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not shutil.which("redis-server"),
    reason="no redis-server: apt install redis-server, or dnf install valkey-compat-redis",
)

CLIENT = """
import json, sys, time
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
client = redis.Redis(sys.argv[1], socket_timeout=float(sys.argv[2]), retry=Retry(NoBackoff(), 0))
times = []
try:
    for number in range(int(sys.argv[3])):
        start = time.perf_counter()
        client.incr("visits")
        times.append(time.perf_counter() - start)
    print(json.dumps({"times": sorted(times)}))
except redis.exceptions.RedisError as error:
    print(json.dumps({"error": type(error).__name__, "done": len(times)}))
"""


@pytest.fixture
def store(this_machines_programs, netem_namespace, pod_manifest):
    server = ["redis-server", "--save", "", "--port", "6379", "--protected-mode", "no", "--bind", "*"]
    netem_namespace.apply([pod_manifest("redis", *server, port=6379), pod_manifest("app", "sleep", "infinity")])
    netem_namespace.wait_ready()
    return netem_namespace


@pytest.fixture
def visits(store):
    """Increment a counter over one connection: what the client saw."""

    def run(count: int = 10, timeout: float = 5) -> dict:
        argv = [sys.executable, "-c", CLIENT, store.pod("redis").ip, str(timeout), str(count)]
        return json.loads(store.exec("app", argv).stdout)

    return run


def test_healthy(visits):
    assert visits()["times"][5] < 0.05


@pytest.mark.netem(rtt="50ms", pods="app=app", to="app=redis", ports="tcp/6379")
def test_every_command_pays_the_round_trip(visits):
    assert 0.05 < visits()["times"][5] < 0.1


@pytest.mark.netem(loss="5%", pods="app=app", to="app=redis", direction="both")
def test_tcp_hides_loss(visits):
    assert len(visits(200, timeout=30)["times"]) == 200


def test_a_partition_is_a_timeout_and_heals(visits, netem):
    with netem.partition("app=app", "app=redis"):
        assert visits(timeout=0.3)["error"] == "TimeoutError"
    assert len(visits()["times"]) == 10
