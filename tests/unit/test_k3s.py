"""Provider ``k3s`` against the class that it uses of Testcontainers; tests/kind/test_k3s.py goes the road itself."""

from __future__ import annotations

import asyncio
import inspect
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_k8s_netem.cluster import k3s
from pytest_k8s_netem.cluster.session import Choices, open_session
from pytest_k8s_netem.errors import ProviderError
from pytest_k8s_netem.run.events import EventLog


def test_testcontainers_has_what_is_used() -> None:
    real = k3s.container_class()
    inspect.signature(real).bind("rancher/k3s:tag")
    for name, member in vars(k3s.Container).items():
        if name.startswith("_"):
            continue
        assert callable(member)
        inspect.signature(getattr(real, name)).bind(object())  # without arguments
    assert "get_exposed_port" in inspect.getsource(real.config_yaml), "an address that this machine reaches"


def test_testcontainers_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "testcontainers.community.k3s", None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ProviderError, match=r"pip install 'pytest-k8s-netem\[k3s\]'"):
        open_session(Choices(provider="k3s", agent_image="none"))


class Stuck:
    """A container that does not start."""

    stopped = 0

    def __init__(self, image: str) -> None:
        self.image = image

    def start(self) -> None:
        raise TimeoutError("no such log line")

    def stop(self) -> None:
        Stuck.stopped += 1


@pytest.mark.parametrize("fails", ["start", "construction"])
def test_a_container_that_does_not_start_is_told_and_removed(
    fails: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(_: str) -> Any:
        raise ConnectionError("no Docker here")

    monkeypatch.setattr(k3s, "container_class", lambda: Stuck if fails == "start" else broken)
    monkeypatch.setattr(Stuck, "stopped", 0)

    async def scenario() -> None:
        choices = Choices(provider="k3s", agent_image="none", k3s_image="rancher/k3s:tag")
        provider = k3s.K3sProvider(choices, tmp_path, EventLog())
        with pytest.raises(ProviderError, match=r"provider k3s: rancher/k3s:tag does not start: no "):
            await provider.start()
        await provider.stop()

    asyncio.run(scenario())
    assert Stuck.stopped == (1 if fails == "start" else 0)
    assert list(tmp_path.iterdir()) == []
