"""A pod in the user's hands, on a store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import PODS
from pytest_k8s_netem.cluster.pod import Pod
from pytest_k8s_netem.errors import ApiError, ClusterError, ConfigError, NetemError
from pytest_k8s_netem.run.portal import Portal


class Running:
    """A command that does not end, on a cluster that is away by now."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.killed = 0

    async def wait(self) -> Any:
        await asyncio.Event().wait()

    async def kill(self, signal: int) -> None:
        self.killed += 1
        raise self._error

    def output(self) -> tuple[str, str]:
        return "", ""


class Provider:
    name = "fake"

    def __init__(self, running: Running) -> None:
        self.api: Any = MemoryApi()
        self.running = running

    async def spawn(self, pod: Any, argv: Any, **_: Any) -> Running:
        return self.running


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal = Portal()
    yield portal
    portal.stop()


@pytest.mark.parametrize("error", [ApiError(0, "Unreachable"), NetemError("it is gone"), OSError("broken pipe")])
def test_a_command_that_cannot_be_killed_is_still_one_that_did_not_end(error: Exception, portal: Portal) -> None:
    running = Running(error)
    provider: Any = Provider(running)
    obj = {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "main", "image": "none"}]}}
    portal.call(provider.api.create(PODS, obj, "default"))
    with pytest.raises(ClusterError, match="a command in default/web did not end within"):
        Pod(provider, portal, "default", "web").exec(["sleep", "1000"], timeout=0.01)
    assert running.killed == 1


@pytest.fixture
def pod(portal: Portal) -> Pod:
    provider: Any = Provider(Running(ClusterError("it takes no signals")))
    obj = {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "main", "image": "none"}]}}
    portal.call(provider.api.create(PODS, obj, "default"))
    return Pod(provider, portal, "default", "web")


def test_a_command_that_takes_no_signals_does_not_hide_what_went_wrong_before(pod: Pod) -> None:
    with pytest.raises(ClusterError, match="it takes no signals"), pod.spawn(["serve"]):
        pass
    with pytest.raises(ZeroDivisionError), pod.spawn(["serve"]):
        1 / 0  # noqa: B018 - the test's own failure


def test_a_command_that_survives_sigkill_is_told(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unheard(self: Running, signal: int) -> None:
        """As a process that waits for a broken disk."""

    monkeypatch.setattr(Running, "kill", unheard)
    monkeypatch.setattr("pytest_k8s_netem.cluster.pod.KILLED_WITHIN", 0.01)
    with pytest.raises(ClusterError, match="a command in default/web goes on after SIGKILL"):
        pod.spawn(["serve"]).stop(timeout=0.01)


@pytest.mark.parametrize("argv", ["ls -l", [], ["sleep", 1]])
def test_a_command_is_a_list_of_words(argv: Any, portal: Portal) -> None:
    with pytest.raises(ConfigError, match="argv is a list of words"):
        Pod(Provider(Running(None)), portal, "default", "web").exec(argv)  # type: ignore[arg-type]
