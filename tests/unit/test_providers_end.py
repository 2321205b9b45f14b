"""How providers of real clusters end when something of it fails; Docker and the API server are stand-ins."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.cluster.k3s import K3sProvider
from pytest_k8s_netem.cluster.kind import FAILED, MADE, KindProvider
from pytest_k8s_netem.cluster.remote import RemoteProvider
from pytest_k8s_netem.cluster.session import Choices
from pytest_k8s_netem.errors import ApiError, NetemError, TeardownError
from pytest_k8s_netem.run.events import EventLog
from pytest_k8s_netem.run.sharing import Share

ERRORS = [ApiError(0, "Unreachable", "the API server does not answer"), TeardownError("it was not healed")]


class Api(MemoryApi):
    closed = False

    async def close(self) -> None:
        self.closed = True


class Broken:
    """A controller that cannot heal."""

    def __init__(self, error: NetemError) -> None:
        self._error = error

    async def stop(self) -> None:
        raise self._error


def broken(provider: RemoteProvider, error: NetemError) -> Api:
    """Let its controller fail at the end: the API that it is to close."""
    control: Any = Broken(error)
    provider._control, provider.api = control, (api := Api())
    return api


@pytest.mark.parametrize("error", ERRORS)
def test_a_cluster_of_kind_goes_also_when_it_cannot_be_healed(
    error: NetemError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "run-1"
    directory.mkdir()
    provider = KindProvider(Choices(provider="kind"), directory, EventLog())
    deleted: list[str] = []

    async def delete() -> None:
        deleted.append(provider.cluster.name)

    monkeypatch.setattr(provider.cluster, "delete", delete)
    api = broken(provider, error)

    async def scenario() -> None:
        async with provider._share.alone():
            provider._share.join()
            provider._share.note.write_text(MADE)
        with pytest.raises(type(error), match=str(error)):
            await provider.stop()

    asyncio.run(scenario())
    assert deleted == [provider.cluster.name]
    assert api.closed
    assert list(tmp_path.iterdir()) == [directory], "no lock and no note stays"


@pytest.mark.parametrize("error", ERRORS)
def test_a_container_of_k3s_goes_also_when_it_cannot_be_healed(error: NetemError, tmp_path: Path) -> None:
    class Container:
        stopped = 0

        def stop(self) -> None:
            self.stopped += 1

    container: Any = Container()
    provider = K3sProvider(Choices(provider="k3s"), tmp_path, EventLog())
    provider._container = container
    api = broken(provider, error)
    with pytest.raises(type(error), match=str(error)):
        asyncio.run(provider.stop())
    assert (container.stopped, api.closed) == (1, True)


class Cluster:
    """In place of a cluster of kind that is there already."""

    def __init__(self) -> None:
        self.deleted = 0

    async def exists(self) -> bool:
        return True

    async def find(self) -> None: ...

    async def delete(self) -> None:
        self.deleted += 1


@pytest.mark.parametrize("note", [MADE, f"{FAILED}there was no room"])
def test_what_a_killed_run_noted_of_a_cluster_does_not_count(note: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        killed = Share(tmp_path, "kind-mine")
        async with killed.alone():
            killed.join()
            killed.note.write_text(note)
        killed._held.close()  # type: ignore[union-attr] # as the kernel does
        provider = KindProvider(Choices(provider="kind", cluster="mine"), tmp_path / "run", EventLog())
        cluster: Any = Cluster()
        provider.cluster = cluster
        async with provider._share.alone():
            provider._share.join()
            await provider._found()
        await provider.stop()
        assert cluster.deleted == 0

    asyncio.run(scenario())
    assert list(tmp_path.iterdir()) == []
