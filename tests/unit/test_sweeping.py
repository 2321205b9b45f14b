"""What a sweep of a cluster takes, and what it leaves alone."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import LEASES, NAMESPACES, TRAFFICPROFILES, Kind
from pytest_k8s_netem.controller.moments import microtime
from pytest_k8s_netem.controller.profiles import FINALIZER
from pytest_k8s_netem.kube import sweeping
from pytest_k8s_netem.run.identity import EXPIRY, RUN

HOME = "k8s-netem"


async def world(api: MemoryApi) -> None:
    """Runs: one that lives, one that died, one without a Lease that expired, one without that did not."""
    await api.create(NAMESPACES, {"metadata": {"name": HOME}})
    now = time.time()
    for run, renewed in (("lives", now), ("died", now - 100)):
        spec = {"leaseDurationSeconds": 30, "renewTime": microtime(renewed)}
        await api.create(LEASES, {"metadata": labelled(f"run-{run}", run), "spec": spec}, HOME)
        await profile(api, run, lease=f"{HOME}/run-{run}")
        await api.create(NAMESPACES, {"metadata": labelled(f"ns-{run}", run)})
    for run, expiry in (("expired", now - 1), ("young", now + 60)):
        await api.create(NAMESPACES, {"metadata": labelled(f"ns-{run}", run, expiry)})
        await profile(api, run, expiry)
    await profile(api, "orphan", lease=f"{HOME}/run-gone")
    await api.create(NAMESPACES, {"metadata": {"name": "somebodys"}})
    await api.create(TRAFFICPROFILES, {"metadata": {"name": "by-hand"}, "spec": {"lease": f"{HOME}/run-gone"}})


def labelled(name: str, run: str, expiry: float = 0.0) -> dict[str, Any]:
    return {"name": name, "labels": {RUN: run, EXPIRY: str(int(expiry or time.time() + 3600))}}


async def profile(api: MemoryApi, run: str, expiry: float = 0.0, lease: str = "") -> None:
    metadata = {**labelled(f"tp-{run}", run, expiry), "finalizers": [FINALIZER]}
    await api.create(TRAFFICPROFILES, {"metadata": metadata, "spec": {"lease": lease} if lease else {}})


async def names(api: MemoryApi, kind: Kind, namespace: str | None = None) -> set[str]:
    return {obj["metadata"]["name"] for obj in (await api.list(kind, namespace)).items}


def test_dead_runs_go_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody heals here, so the finalizers are taken off when the agents have healed by themselves."""
    monkeypatch.setattr(sweeping, "HEALED_WITHIN", 0.1)

    async def main() -> None:
        api = MemoryApi()
        await world(api)
        told = [line async for line in sweeping.sweep(api)]
        assert await names(api, TRAFFICPROFILES) == {"tp-lives", "tp-young", "by-hand"}
        assert {"ns-died", "ns-expired"}.isdisjoint(await names(api, NAMESPACES))
        assert {"ns-lives", "ns-young", "somebodys", HOME} <= await names(api, NAMESPACES)
        assert await names(api, LEASES, HOME) == {"run-lives"}
        assert [line.split(" of ")[0] for line in told] == [
            "TrafficProfile tp-died",
            "TrafficProfile tp-expired",
            "TrafficProfile tp-orphan",
            "Namespace ns-died",
            "Namespace ns-expired",
            "Lease run-died",
        ]
        assert "(owner unknown)" in told[0]
        assert [line async for line in sweeping.sweep(api)] == []

    asyncio.run(main())


def test_a_cluster_that_knows_no_profiles_is_swept_too() -> None:
    async def main() -> None:
        api = MemoryApi()
        assert [line async for line in sweeping.sweep(api)] == []

    asyncio.run(main())
