"""Attached containers without Docker: what users hand over, what Docker says, the object that stands for one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_k8s_netem.docker import inspection
from pytest_k8s_netem.docker.podobject import pod_of, status_of
from pytest_k8s_netem.docker.reference import checked_name, reference
from pytest_k8s_netem.errors import ConfigError, ProviderError
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.run.claim import Claim

ID = "0" * 64
SAID: dict[str, Any] = {
    "Id": ID,
    "Name": "/shop_redis_1",
    "State": {"Status": "running", "Pid": 4711, "StartedAt": "2026-11-28T09:58:43.239182394Z"},
    "Config": {"Image": "redis:7", "Labels": {"app": "redis", "com.docker.compose.project": "shop"}},
    "HostConfig": {"NetworkMode": "shop_default"},
    "NetworkSettings": {
        "SandboxKey": "/var/run/docker/netns/d919e5898257",
        "Networks": {
            "shop_default": {
                "NetworkID": "aaa",
                "IPAddress": "172.18.0.2",
                "Gateway": "172.18.0.1",
                "GlobalIPv6Address": "fd00::2",
                "IPv6Gateway": "",
            },
            "back": {"NetworkID": "bbb", "IPAddress": "172.19.0.2", "Gateway": "172.19.0.1"},
        },
    },
}
REDIS = inspection.read(SAID)


class Model:
    """As docker.models.containers.Container."""

    id = ID


class Wrapping:
    """As testcontainers' DockerContainer."""

    def __init__(self, wrapped: object, error: Exception | None = None) -> None:
        self._wrapped, self._error = wrapped, error

    def get_wrapped_container(self) -> object:
        if self._error is not None:
            raise self._error
        return self._wrapped


class Composed:
    """As testcontainers' ComposeContainer."""

    ID = "abc"


@pytest.mark.parametrize(
    ("container", "expected"),
    [("redis", "redis"), (" redis ", "redis"), (Model(), ID), (Wrapping(Model()), ID), (Composed(), "abc")],
)
def test_a_container_is_known_by_what_it_offers(container: object, expected: str) -> None:
    assert reference(container) == expected


@pytest.mark.parametrize("container", [None, 7, "", object(), ["redis"]])
def test_what_is_none_is_refused(container: object) -> None:
    with pytest.raises(ConfigError, match="this is no container; give a container of testcontainers"):
        reference(container)


@pytest.mark.parametrize("container", [Wrapping(None), Wrapping(Model(), RuntimeError("Container is not started"))])
def test_one_that_is_not_started_is_refused(container: object) -> None:
    with pytest.raises(ConfigError, match="this Wrapping has not been started; attach it inside its with block"):
        reference(container)


def test_names() -> None:
    assert checked_name("redis", "anything") == "redis"
    assert checked_name("", "shop-redis-1") == "shop-redis-1"
    for wrong in ("Redis", "re_dis", "-redis", "redis.", "r" * 64, "con/tainer"):
        with pytest.raises(ConfigError, match=f'as_="{wrong}".: not a name; use lower case'):
            checked_name(wrong, "own")
    with pytest.raises(ConfigError, match='the container is called shop_redis_1; give it a name: as_="redis"'):
        checked_name("", "shop_redis_1")


def test_what_docker_says_is_read() -> None:
    assert (REDIS.name, REDIS.image, REDIS.pid, REDIS.running) == ("shop_redis_1", "redis:7", 4711, True)
    assert REDIS.addresses == ("172.19.0.2", "172.18.0.2", "fd00::2")
    assert {network.id: network.gateways for network in REDIS.networks} == {
        "aaa": ("172.18.0.1",),
        "bbb": ("172.19.0.1",),
    }
    assert inspection.unfit(REDIS) == ""
    assert inspection.unfit(replace(REDIS, status="paused")) == ""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"mode": "host"}, "this machine's own network .* run it on a network of its own"),
        ({"mode": "none", "networks": ()}, "has no network: run it on one"),
        ({"networks": ()}, "has no network"),
        ({"status": "exited"}, "does not run: it is exited; start it before it is attached"),
        ({"status": "created"}, "does not run"),
        ({"mode": f"container:{ID}"}, "shares the network of container 000000000000: attach that one"),
    ],
)
def test_what_cannot_be_impaired(change: dict[str, Any], why: str) -> None:
    import re

    assert re.search(why, inspection.unfit(replace(REDIS, **change)))


def test_a_start_is_another_life() -> None:
    assert replace(REDIS, started="later").life != REDIS.life
    assert replace(REDIS, sandbox="/another").life != REDIS.life
    assert replace(REDIS, networks=()).life == REDIS.life


def test_the_object_that_stands_for_it() -> None:
    pod = {**pod_of("redis", REDIS), "status": status_of("redis", REDIS, ["172.18.0.1"])}
    assert objects.attached(pod) == "redis"
    assert objects.running(pod)
    assert objects.labels(pod)["app"] == "redis"
    assert objects.pod_addresses(pod) == objects.peer_set(REDIS.addresses)
    assert objects.networks(pod) == {
        "aaa": objects.peer_set(["172.18.0.2", "fd00::2"]),
        "bbb": objects.peer_set(["172.19.0.2"]),
    }
    assert objects.shown("container/redis") == "container/redis"
    assert objects.shown("default/web") == "pod/web"


def test_a_label_of_docker_cannot_take_the_name_away() -> None:
    other = replace(REDIS, labels={objects.CONTAINER_LABEL: "db"})
    assert objects.attached(pod_of("redis", other)) == "redis"


def test_a_claim_is_one_processs_own() -> None:
    first, second = Claim("container/test"), Claim("container/test")
    assert first.take()
    assert not second.take()
    first.release()
    first.release()
    assert second.take()
    second.release()


def docker_that_says(said: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "docker").write_text(f"#!/bin/sh\necho >&2 '{said}'\nexit 1\n")
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.parametrize(
    "said",
    [
        "Error: No such container: redis",
        "Error response from daemon: No such container: redis",
        "Error: No such object: redis",
        "error: no such object: redis",
    ],
)
def test_there_is_no_such_container(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_that_says(said, tmp_path, monkeypatch)
    assert asyncio.run(inspection.look("redis")) is None
    with pytest.raises(ConfigError, match="Docker has no container 'redis'"):
        asyncio.run(inspection.inspect("redis"))


@pytest.mark.parametrize(
    "said",
    [
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and if the "
        "daemon is running: dial unix /var/run/docker.sock: connect: no such file or directory",
    ],
)
def test_a_docker_that_is_away_is_not_one_without_the_container(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_that_says(said, tmp_path, monkeypatch)
    with pytest.raises(ProviderError, match="systemctl start docker"):
        asyncio.run(inspection.look("redis"))
