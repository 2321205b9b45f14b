"""What is made in several steps and cannot be finished: the error leaves nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import NAMESPACES, PODS, Object
from pytest_k8s_netem.cluster import session as sessions
from pytest_k8s_netem.cluster.cluster import Cluster
from pytest_k8s_netem.cluster.session import Choices, Session
from pytest_k8s_netem.errors import ApiError, ClusterError, ConfigError
from pytest_k8s_netem.run.portal import Portal


class Provider:
    """Its API refuses pods that are called so, its namespaces never take pods."""

    name, home, makes_namespaces, lease = "fake", "default", True, ""

    def __init__(self, *_: object) -> None:
        self.api: Any = MemoryApi({PODS: _admit})

    def check(self, manifest: Object) -> Object:
        return manifest

    async def open(self) -> None: ...

    async def stop(self) -> None: ...

    async def namespace_ready(self, name: str) -> None:
        raise ClusterError(f"serviceaccounts default is not there in {name}")


def _admit(new: Object, _: Object | None) -> Object:
    if new["metadata"]["name"] == "refused":
        raise ConfigError("not this one")
    return new


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal = Portal()
    yield portal
    portal.stop()


def pod(name: str, **labels: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "none"}]},
    }


def test_objects_before_a_refused_one_are_deleted_again(portal: Portal) -> None:
    provider: Any = Provider()
    cluster = Cluster(provider, portal, timeout=10)
    cluster.apply(pod("there"))
    with pytest.raises(ApiError, match="not this one"):
        cluster.apply([pod("one"), pod("there", app="web"), pod("refused"), pod("two")])
    assert [one.name for one in cluster.pods()] == ["there"]
    assert len(cluster.apply([pod("one"), pod("two")]).made) == 2


def test_a_namespace_that_takes_no_pods_is_deleted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_provider", lambda _: Provider)
    session = Session(Choices())
    try:
        with pytest.raises(ClusterError, match="serviceaccounts default is not there"):
            session.make_namespace("test_it.py::test_it")
        listing = session.portal.call(session.provider.api.list(NAMESPACES))
        assert [one["metadata"]["name"] for one in listing.items] == ["default"]
        assert session.camera.namespaces == []
    finally:
        session.close()
