"""Manifests, on the embedded cluster or a real one: Deployments, Services as names, exec, logs, forward."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import requests

HERE = Path(__file__).parent


@pytest.fixture
def shop(netem_namespace, images):
    netem_namespace.apply(HERE / "shop.yaml")
    netem_namespace.wait_ready()
    return netem_namespace


GET = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).status)"


def test_a_service_is_a_name(shop):
    done = shop.exec("shopper", ["python3", "-c", GET, "http://web:8080/"])
    assert done.stdout.strip() == "200"


def test_exec_has_stdin_environment_and_status(shop):
    assert shop.exec("shopper", ["cat"], stdin="hello").stdout == "hello"
    assert shop.exec("shopper", ["sh", "-c", "echo $WHO"], env={"WHO": "me"}).stdout == "me\n"
    assert shop.exec("shopper", ["false"], check=False).returncode == 1


def test_logs_and_background_processes(shop):
    with shop.spawn("shopper", ["sh", "-c", "echo started; sleep 60"]) as process:
        deadline = time.monotonic() + 10
        while "started" not in process.logs and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "started" in process.logs
    shop.exec("shopper", ["python3", "-c", GET, "http://web:8080/"])
    assert any("GET /" in pod.logs() for pod in shop.pods("app=web"))


@pytest.mark.netem(loss="100%", pods="app=web", to="app=shopper", inert="ignore")
def test_forward_is_never_impaired(shop):
    with shop.forward("svc/web:8080") as url:
        assert requests.get(url, timeout=5).ok


@pytest.mark.netem(delay="30ms", pods="deploy/web")
def test_a_replaced_pod_is_impaired_before_its_command_starts(shop):
    victim = shop.pods("app=web")[0]
    victim.delete(grace=0)
    shop.wait_ready()
    for pod in shop.pods("app=web"):
        took = shop.exec("shopper", ["python3", "-c", TIMED, f"http://{pod.ip}:8080/"])
        assert float(took.stdout) > 0.06


TIMED = """
import sys, time, urllib.request as u
start = time.perf_counter()
u.urlopen(sys.argv[1], timeout=10).read()
print(time.perf_counter() - start)
"""


def test_scale(shop):
    shop.scale("web", 3)
    shop.wait_ready()
    assert len([pod for pod in shop.pods("app=web") if pod.ready]) == 3
