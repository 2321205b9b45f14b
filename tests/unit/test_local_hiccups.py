"""The embedded cluster's controllers on an API server that fails for a moment, or that others are faster on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import DEPLOYMENTS, NAMESPACES, NODES, PODS, REPLICASETS, SERVICEACCOUNTS, Kind
from pytest_k8s_netem.cluster import readiness
from pytest_k8s_netem.controller.runtime import Runtime
from pytest_k8s_netem.errors import ApiError, ClusterError
from pytest_k8s_netem.local import deployments
from pytest_k8s_netem.local.deployments import Deployments
from pytest_k8s_netem.local.kubelet import Kubelet, Settings
from pytest_k8s_netem.local.namespaces import Namespaces
from pytest_k8s_netem.resolve.objects import CONTAINERS

AWAY = ApiError(0, "Unreachable", "the API server does not answer")


class Hiccups(MemoryApi):
    """Each sort of write fails once, the first time; from then on it works."""

    def __init__(self, *calm: tuple[str, Kind]) -> None:
        super().__init__()
        self.done = set(calm)

    def _once(self, verb: str, kind: Kind) -> None:
        if (verb, kind) not in self.done:
            self.done.add((verb, kind))
            raise AWAY

    async def create(self, kind: Kind, obj: Any, namespace: str | None = None, *, dry_run: bool = False) -> Any:
        self._once("create", kind)
        return await super().create(kind, obj, namespace, dry_run=dry_run)

    async def patch(self, kind: Kind, *args: Any, **named: Any) -> Any:
        self._once("patch", kind)
        return await super().patch(kind, *args, **named)

    async def replace(self, kind: Kind, *args: Any) -> Any:
        self._once("replace", kind)
        return await super().replace(kind, *args)

    async def delete(self, kind: Kind, *args: Any, **named: Any) -> None:
        self._once("delete", kind)
        await super().delete(kind, *args, **named)


class Host:
    """A node host that makes nothing."""

    ipv6 = nested = False

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        async def done(*_: object, **__: object) -> None: ...

        return done


def play(api: MemoryApi, scenario: Callable[[Runtime], Awaitable[None]]) -> None:
    async def main() -> None:
        runtime = Runtime(api)
        try:
            async with asyncio.timeout(20):
                await scenario(runtime)
        finally:
            await runtime.stop()
            await api.close()

    asyncio.run(main())


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    while not await condition():
        await asyncio.sleep(0.01)


def deployment(replicas: int) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "none"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return {"metadata": {"name": "web"}, "spec": spec}


def test_a_deployment_gets_its_pods_and_its_status() -> None:
    api = Hiccups(("create", DEPLOYMENTS), ("create", NAMESPACES), ("patch", PODS))

    async def scenario(runtime: Runtime) -> None:
        Deployments(runtime)
        await runtime.start()
        await api.create(DEPLOYMENTS, deployment(2), "default")

        async def told() -> bool:
            seen = await api.get(DEPLOYMENTS, "web", "default")
            return bool((seen.get("status") or {}).get("replicas") == 2)

        await until(told)
        assert {("create", REPLICASETS), ("create", PODS), ("patch", REPLICASETS)} <= api.done
        await api.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 1}}, "default")

        async def fewer() -> bool:
            pods = (await api.list(PODS, "default")).items
            return len([pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]) == 1

        await until(fewer)

    play(api, scenario)


def test_a_namespace_gets_its_account_and_goes() -> None:
    api = Hiccups(("create", NAMESPACES), ("delete", NAMESPACES))

    async def scenario(runtime: Runtime) -> None:
        Namespaces(runtime)
        await runtime.start()

        def account(namespace: str) -> Callable[[], Awaitable[Any]]:
            async def there() -> list[Any]:
                return (await api.list(SERVICEACCOUNTS, namespace)).items

            return there

        await until(account("default"))
        api.done.discard(("create", SERVICEACCOUNTS))
        await api.create(NAMESPACES, {"metadata": {"name": "shop"}})
        await until(account("shop"))
        await api.delete(NAMESPACES, "shop")

        async def gone() -> bool:
            return "shop" not in [one["metadata"]["name"] for one in (await api.list(NAMESPACES)).items]

        await until(gone)

    play(api, scenario)


def test_a_pod_tells_its_status_and_goes(tmp_path: Path) -> None:
    api = Hiccups(("create", PODS), ("create", NODES))
    gate = asyncio.Event()

    async def wait(_: Any) -> None:
        await gate.wait()

    async def scenario(runtime: Runtime) -> None:
        host: Any = Host()
        kubelet = Kubelet(runtime, host, ["n1"], Settings({}, tmp_path, gate=wait))
        await kubelet.register()
        await runtime.start()
        spec = {"containers": [{"name": "main", "image": "none", "command": ["true"]}]}
        await api.create(PODS, {"metadata": {"name": "web"}, "spec": spec}, "default")

        async def addressed() -> str:
            return str(((await api.get(PODS, "web", "default")).get("status") or {}).get("podIP") or "")

        await until(addressed)
        api.done -= {("delete", PODS)}
        await until(lambda: _deleted(api))
        await kubelet.stop()

    play(api, scenario)


async def _deleted(api: MemoryApi) -> bool:
    try:
        if "deletionTimestamp" not in (await api.get(PODS, "web", "default"))["metadata"]:
            await MemoryApi.delete(api, PODS, "web", "default", grace=1)
    except ApiError as error:
        return error.status == 404
    return False


def test_a_pod_for_a_node_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    api = MemoryApi()

    async def scenario(runtime: Runtime) -> None:
        host: Any = Host()
        kubelet = Kubelet(runtime, host, ["n1", "n2"], Settings({}, tmp_path))
        await kubelet.register()
        await runtime.start()
        spec = {"nodeName": "n3", "containers": [{"name": "main", "image": "none", "command": ["true"]}]}
        await api.create(PODS, {"metadata": {"name": "web"}, "spec": spec}, "default")
        provider: Any = SimpleNamespace(api=api, reads=lambda *_: False, lost=lambda: "", logs=_no_logs)
        with pytest.raises(ClusterError, match="pod/web: Pending there is no node n3; there are: n1, n2"):
            await readiness.ready(provider, "default", "", 0.5)
        await MemoryApi.delete(api, PODS, "web", "default")

        async def gone() -> bool:
            return not (await api.list(PODS, "default")).items

        await until(gone)

    play(api, scenario)


def test_the_object_of_an_attached_container_is_left_alone(tmp_path: Path) -> None:
    """It says where it runs, which is no node here; its status is written by who attached it, perhaps before."""
    api = MemoryApi()

    async def scenario(runtime: Runtime) -> None:
        host: Any = Host()
        kubelet = Kubelet(runtime, host, ["n1"], Settings({}, tmp_path))
        await kubelet.register()
        await runtime.start()
        await api.create(NAMESPACES, {"metadata": {"name": CONTAINERS}})
        spec = {"nodeName": "docker", "containers": [{"name": "redis", "image": "redis"}]}
        await api.create(PODS, {"metadata": {"name": "redis"}, "spec": spec}, CONTAINERS)
        await api.patch(PODS, "redis", {"status": {"phase": "Running"}}, CONTAINERS, subresource="status")
        web = {"nodeName": "n9", "containers": [{"name": "main", "image": "none", "command": ["true"]}]}
        await api.create(PODS, {"metadata": {"name": "later"}, "spec": web}, "default")

        async def refused() -> bool:
            return bool((await api.get(PODS, "later", "default")).get("status", {}).get("conditions"))

        await until(refused)
        assert (await api.get(PODS, "redis", CONTAINERS))["status"] == {"phase": "Running"}

    play(api, scenario)


async def _no_logs(_: Any) -> str:
    raise ClusterError("it does not run")


def test_a_node_that_cannot_be_registered_is_told(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime) -> None:
        host: Any = Host()
        with pytest.raises(ApiError, match="does not answer"):
            await Kubelet(runtime, host, ["n1"], Settings({}, tmp_path)).register()

    play(Hiccups(), scenario)


def test_a_pod_that_goes_before_it_is_seen_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployments, "SEEN_WITHIN", 0.05)

    class Faster(MemoryApi):
        """Deletes the first pod before its maker hears of it."""

        made = 0

        async def create(self, kind: Kind, obj: Any, namespace: str | None = None, *, dry_run: bool = False) -> Any:
            made = await super().create(kind, obj, namespace, dry_run=dry_run)
            if kind is PODS:
                self.made += 1
                if self.made == 1:
                    await self.delete(PODS, made["metadata"]["name"], "default", grace=0)
                    await asyncio.sleep(0.02)  # all that is to be seen of it is seen meanwhile
            return made

    api = Faster()

    async def scenario(runtime: Runtime) -> None:
        Deployments(runtime)
        await runtime.start()
        await api.create(DEPLOYMENTS, deployment(1), "default")

        async def pods() -> list[Any]:
            return (await api.list(PODS, "default")).items

        await until(pods)
        assert api.made == 2

    play(api, scenario)
