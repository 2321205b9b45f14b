"""A user who may not do all things in a cluster: what is asked of the server, what is found out, what is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_k8s_netem.api.confined import ConfinedApi
from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.passing import PassingApi
from pytest_k8s_netem.api.protocol import (
    ACCESS_REVIEWS,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    TRAFFICPROFILES,
    Kind,
    Listing,
)
from pytest_k8s_netem.api.refusals import refusal
from pytest_k8s_netem.api.rights import Right, told
from pytest_k8s_netem.cluster.access import NEEDED, Access, explore, needed
from pytest_k8s_netem.cluster.own import OwnNamespaces
from pytest_k8s_netem.controller.informer import Informer
from pytest_k8s_netem.controller.world import TABLES
from pytest_k8s_netem.errors import ApiError, ClusterError, ProviderError
from pytest_k8s_netem.kube import nearby

ROLE = Path(__file__).parents[2] / "fixtures" / "rights" / "in-process.yaml"
POD = {"spec": {"containers": [{"name": "main", "image": "none"}]}}


class Server(PassingApi):
    """A store that keeps rights: (verb, resource, namespace) of what is allowed, "" = of all namespaces."""

    def __init__(self, *allowed: tuple[str, str, str], reviews: bool = True) -> None:
        super().__init__(MemoryApi())
        self.allowed, self.reviews = set(allowed), reviews
        self.asked: list[tuple[str, str, str]] = []

    async def create(self, kind: Kind, obj: Any, namespace: str | None = None, *, dry_run: bool = False) -> Any:
        if kind != ACCESS_REVIEWS:
            return await super().create(kind, obj, namespace, dry_run=dry_run)
        if not self.reviews:
            raise ApiError(403, "Forbidden")
        asked = obj["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (asked["resource"], asked["subresource"])))
        return {**obj, "status": {"allowed": self._may(asked["verb"], resource, asked["namespace"])}}

    async def list(self, kind: Kind, namespace: str | None = None, selector: str = "") -> Listing:
        self.asked.append(("list", kind.plural, namespace or ""))
        if not self._may("list", kind.plural, namespace or ""):
            raise ApiError(403, "Forbidden", f"list of {kind.plural} in {namespace}")
        return await super().list(kind, namespace, selector)

    def _may(self, verb: str, resource: str, namespace: str) -> bool:
        return bool({(verb, resource, namespace), (verb, resource, "")} & self.allowed)


def role(namespace: str) -> list[tuple[str, str, str]]:
    """The Role that users are told to bind, as tuples."""
    rules = yaml.safe_load(ROLE.read_text(encoding="utf-8"))["rules"]
    assert all(rule["apiGroups"] == [""] for rule in rules)
    return [(verb, resource, namespace) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]]


def test_the_role_is_what_is_needed() -> None:
    assert sorted(role("")) == sorted((verb, resource, "") for resource, verbs in NEEDED for verb in verbs)
    assert [right.resource for right in needed("team")] == [resource for resource, verbs in NEEDED for _ in verbs]


@pytest.mark.parametrize("reviews", [True, False])
def test_the_least_that_is_enough(reviews: bool) -> None:
    server = Server(*role("team"), reviews=reviews)
    access = asyncio.run(explore(server, "team", ("team", "other")))
    assert access.scopes == {kind: ("team",) if kind is PODS else () for kind in TABLES.values()}
    assert not access.makes_namespaces
    assert access.view.namespaces == {"team"}
    assert access.view.allowed == {"team", "other"}
    assert access.view.lacking["services"] == "list and watch of services in namespace team"
    assert access.view.lacking["nodes"] == "list and watch of nodes"
    assert (server.asked == []) is reviews, "where the server tells, nothing is tried"
    assert len(access.limits()) == 4


@pytest.mark.parametrize("left_out", role("team"), ids=lambda right: f"{right[0]} {right[1]}")
def test_less_is_told_by_name(left_out: tuple[str, str, str]) -> None:
    server = Server(*(right for right in role("team") if right != left_out))
    with pytest.raises(ProviderError) as told_:
        asyncio.run(explore(server, "team", ()))
    assert f"this takes {left_out[0]} of {left_out[1]} in namespace team: " in str(told_.value)


def test_who_may_all_gets_namespaces_and_sees_everything() -> None:
    reading = [(verb, kind.plural, "") for kind in TABLES.values() for verb in ("list", "watch")]
    making = [("create", "namespaces", ""), ("delete", "namespaces", "")]
    access = asyncio.run(explore(Server(*role(""), *reading, *making), "team", ()))
    assert (access.scopes, access.makes_namespaces, access.limits()) == ({}, True, [])
    assert (access.view.namespaces, access.view.lacking) == (None, {})
    assert not asyncio.run(explore(Server(*role(""), *reading), "team", ())).makes_namespaces


def test_namespaces_that_are_allowed_and_may_be_read_are_seen_too() -> None:
    server = Server(*role("team"), ("list", "pods", "two"), ("watch", "pods", "two"))
    access = asyncio.run(explore(server, "team", ("two", "three", "*")))
    assert access.scopes[PODS] == ("team", "two")


def with_api(scenario: Callable[[MemoryApi], Awaitable[None]]) -> None:
    async def main() -> None:
        api = MemoryApi()
        async with asyncio.timeout(10):
            await scenario(api)
        await api.close()

    asyncio.run(main())


def test_an_informer_follows_just_the_namespaces_that_may_be_read() -> None:
    async def scenario(api: MemoryApi) -> None:
        for namespace in ("one", "two", "three"):
            await api.create(NAMESPACES, {"metadata": {"name": namespace}})
            await api.create(PODS, {"metadata": {"name": "before"}, **POD}, namespace)
        await api.create(SERVICES, {"metadata": {"name": "hidden"}, "spec": {}}, "one")
        confined = ConfinedApi(api, {PODS: ("one", "two"), SERVICES: (), NODES: ()})
        pods, services = Informer(confined, PODS), Informer(confined, SERVICES)
        tasks = [asyncio.create_task(one.run()) for one in (pods, services, Informer(confined, NODES))]
        await pods.synced.wait()
        await services.synced.wait()
        assert set(pods.objects) == {"one/before", "two/before"}
        for namespace in ("three", "two", "one"):
            await api.create(PODS, {"metadata": {"name": "after"}, **POD}, namespace)
        await api.delete(PODS, "before", "two", grace=0)
        while set(pods.objects) != {"one/before", "one/after", "two/after"}:
            await asyncio.sleep(0.001)
        assert services.objects == {}
        await confined.create(TRAFFICPROFILES, {"metadata": {"name": "own"}, "spec": {}})
        assert len((await confined.list(TRAFFICPROFILES)).items) == 1
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    with_api(scenario)


def test_only_namespaces_of_its_own_are_deleted() -> None:
    async def scenario(api: MemoryApi) -> None:
        seen: list[frozenset[str]] = []
        await api.create(NAMESPACES, {"metadata": {"name": "theirs"}})
        own = OwnNamespaces(api, seen.append)
        await own.create(NAMESPACES, {"metadata": {"name": "dry"}}, dry_run=True)
        await own.create(NAMESPACES, {"metadata": {"name": "ours"}})
        await own.delete(NAMESPACES, "ours")
        assert seen == [frozenset({"ours"}), frozenset()]
        for name in ("theirs", "ours", "dry"):
            with pytest.raises(ClusterError, match=f"{name} is not deleted: this run did not make it"):
                await own.delete(NAMESPACES, name)

    with_api(scenario)


@pytest.mark.parametrize(
    ("message", "right"),
    [
        (
            'pods "a" is forbidden: User "u" cannot get resource "pods/log" in API group "" in the namespace "team"',
            "get of pods/log in namespace team",
        ),
        (
            'nodes is forbidden: User "u" cannot list resource "nodes" in API group "" at the cluster scope',
            "list of nodes",
        ),
        (
            'x is forbidden: User "u" cannot watch resource "pods" in API group "" at the cluster scope: why',
            "watch of pods in all namespaces",
        ),
        ('pods "a" is forbidden: violates PodSecurity "baseline:latest"', ""),
    ],
)
def test_a_refusal_ends_with_the_right_that_is_missing(message: str, right: str) -> None:
    body = json.dumps({"kind": "Status", "code": 403, "reason": "Forbidden", "message": message}).encode()
    assert str(refusal(403, body)) == (f"{message}; that needs {right}" if right else message)


def test_rights_read_as_sentences() -> None:
    rights = [Right(verb, PODS, "", "team") for verb in ("get", "list", "watch")]
    assert told(rights) == "get, list and watch of pods in namespace team"
    assert told([Right("list", PODS)]) == "list of pods in all namespaces"
    assert told([Right("list", NODES)]) == "list of nodes"


def test_limits_of_nobody_are_none() -> None:
    assert Access("default", makes_namespaces=True).limits() == []


def test_clusters_of_this_machine_take_images_from_it() -> None:
    near = nearby.of_context("kind-some-name")
    assert near is not None
    assert " ".join(near.command("a:1")) == "kind load docker-image a:1 --name some-name"
    near = nearby.of_context("k3d-x")
    assert near is not None
    assert " ".join(near.command("a:1")) == "k3d image import a:1 --cluster x"
    assert nearby.of_context("prod") is nearby.of_context("kind-") is nearby.of_context("") is None
