"""How providers of real clusters end when something of it fails; Docker and the API server are stand-ins."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.cluster.k3s import K3sProvider
from pytest_k8s_netem.cluster.kind import FAILED, MADE, STAYS, KindProvider
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


class Absent(Cluster):
    """In place of one that is not there yet."""

    name = "mine"

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    async def exists(self) -> bool:
        return bool(self.made)

    async def create(self, **_: object) -> None:
        self.made += 1


@pytest.mark.parametrize(
    ("keep", "failed", "stays"),
    [("always", False, True), ("on-failure", True, True), ("on-failure", False, False), ("never", True, False)],
)
def test_a_cluster_that_is_to_stay_is_noted_when_it_is_made(
    keep: str, failed: bool, stays: bool, tmp_path: Path
) -> None:
    async def scenario() -> None:
        choices = Choices(provider="kind", cluster="mine", keep=keep)
        provider = KindProvider(choices, tmp_path / "run", EventLog())
        cluster: Any = Absent()
        provider.cluster = cluster
        async with provider._share.alone():
            provider._share.join()
            await provider._found()
        assert provider._share.note.read_text() == (STAYS if keep == "always" else MADE)
        assert ("kind cluster mine is kept" in provider.remains(failed)) == stays
        await provider.stop()
        assert cluster.deleted == (not stays)

    asyncio.run(scenario())
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_shares_a_cluster_that_is_to_stay_does_not_delete_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        runs = [
            KindProvider(Choices(provider="kind", cluster="mine", keep=keep), tmp_path / "run", EventLog())
            for keep in ("always", "never")
        ]
        cluster: Any = Absent()
        for run in runs:
            run.cluster = cluster
            async with run._share.alone():
                run._share.join()
                await run._found()
        runs[0]._share._held.close()  # type: ignore[union-attr] # it is killed
        assert runs[1].remains(failed=False) == ""
        await runs[1].stop()
        assert cluster.deleted == 0

    asyncio.run(scenario())
