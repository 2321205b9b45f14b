"""Pods that should have the sidecar and have none: the log tells of each once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import NAMESPACES, PODS
from pytest_k8s_netem.controller.runtime import Runtime
from pytest_k8s_netem.kube import census
from pytest_k8s_netem.kube.census import Census
from pytest_k8s_netem.run.identity import INJECT, INJECTED

ENABLED = {INJECT: INJECTED}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "x"}], **spec}}


def test_who_lacks_it_is_counted_and_told_once(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(census, "EVERY", 0.01)

    async def scenario() -> None:
        api = MemoryApi()
        strict = {**ENABLED, "pod-security.kubernetes.io/enforce": "baseline"}
        for name, labels in {"shop": ENABLED, "plain": {}, "strict": strict, "kube-system": ENABLED}.items():
            await api.create(NAMESPACES, {"metadata": {"name": name, "labels": labels}})
            await api.create(PODS, pod("bare"), name)
        sidecar = {"name": "netem-agent", "image": "x", "restartPolicy": "Always"}
        await api.create(PODS, pod("whole", initContainers=[sidecar]), "shop")
        await api.create(PODS, pod("host", hostNetwork=True), "shop")
        runtime = Runtime(api)
        counting = Census(runtime)
        await runtime.start()
        try:
            await until(lambda: counting.without == {"shop/bare"})
            await api.create(PODS, pod("late"), "shop")
            await until(lambda: counting.without == {"shop/bare", "shop/late"})
            await api.patch(PODS, "late", {"status": {"phase": "Succeeded"}}, "shop", "status")
            await until(lambda: counting.without == {"shop/bare"})
        finally:
            counting.stop()
            await runtime.stop()

    asyncio.run(scenario())
    assert [record.getMessage() for record in caplog.records] == [
        "pods without sidecar in enabled namespaces: 1; new: shop/bare",
        "pods without sidecar in enabled namespaces: 2; new: shop/late",
    ]


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)
