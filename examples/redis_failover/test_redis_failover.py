"""Redis with Sentinel: the master is cut off, a replica takes its place, and the old one follows when it is healed.

Three members, each a Redis and its Sentinel. All that a pod needs is a shell, ``redis-server`` and ``redis-cli``: of an
image where pods are containers, of this machine (``apt install redis-server``) on the embedded cluster.
"""

from __future__ import annotations

import os
import shutil
import time

import pytest

IMAGE = os.environ.get("NETEM_EXAMPLES_REDIS_IMAGE", "redis:7.4")
MEMBERS = ("one", "two", "three")
MEMBER = """
home=$(mktemp -d); cd "$home"
trap 'kill $(jobs -p); rm -rf "$home"' EXIT
trap exit TERM
redis-server --save '' --protected-mode no --bind '*' &
printf '%s\n' 'protected-mode no' 'bind *' >sentinel.conf
redis-server sentinel.conf --sentinel &
wait
"""


@pytest.fixture
def member(group):
    """Ask a member's Redis, or its Sentinel, out of band: ``member("one", "info", "replication")``."""

    def ask(name: str, *words: str, sentinel: bool = False) -> str:
        port = "26379" if sentinel else "6379"
        return group.exec(name, ["redis-cli", "-p", port, *words]).stdout.strip()

    return ask


@pytest.fixture
def group(netem_cluster, netem_namespace, pod_manifest):
    """The members and a client, all ready; ``one`` is the master."""
    if netem_cluster.provider in ("local", "apiserver") and not shutil.which("redis-server"):
        pytest.skip("no redis-server: apt install redis-server, or dnf install valkey-compat-redis")
    netem_cluster.load_image(IMAGE)
    pods = [pod_manifest(name, "sh", "-c", MEMBER, port=26379, image=IMAGE) for name in MEMBERS]
    netem_namespace.apply([*pods, pod_manifest("app", "sleep", "infinity", image=IMAGE)])
    netem_namespace.wait_ready()
    return netem_namespace


@pytest.fixture
def replicated(group, member):
    """Two members follow ``one``, and every Sentinel knows the others."""
    first = group.pod("one").ip
    for name in MEMBERS:
        if name != "one":
            member(name, "replicaof", first, "6379")
        member(name, "sentinel", "monitor", "shop", first, "6379", "2", sentinel=True)
        member(name, "sentinel", "set", "shop", "down-after-milliseconds", "2000", sentinel=True)
    known = ("num-slaves\n2", "num-other-sentinels\n2")
    until(lambda: all(all(k in member(n, "sentinel", "master", "shop", sentinel=True) for k in known) for n in MEMBERS))
    return group


@pytest.fixture
def master(replicated, member):
    """The name of whom a member's Sentinel takes for the master."""
    names = {replicated.pod(name).ip: name for name in MEMBERS}
    return lambda of: names[member(of, "sentinel", "get-master-addr-by-name", "shop", sentinel=True).split()[0]]


def until(condition, seconds: float = 60):
    """The first true answer; asking goes on for at most ``seconds``."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, "not in time"
        time.sleep(0.2)
    return answer


def test_a_master_that_is_cut_off_is_replaced_and_follows_when_healed(replicated, member, master, netem):
    def set_at(name: str, value: str) -> str:
        return replicated.exec(
            "app", ["redis-cli", "-h", replicated.pod(name).ip, "set", "stock", value]
        ).stdout.strip()

    assert {master(name) for name in MEMBERS} == {"one"}
    assert set_at("one", "before") == "OK"
    until(lambda: member("two", "get", "stock") == member("three", "get", "stock") == "before")

    with netem.partition("app=one", ["app=two", "app=three"]):
        new = until(lambda: {master("two")} & {master("three")} & {"two", "three"}).pop()
        until(lambda: "role:master" in member(new, "info", "replication"))
        assert set_at(new, "after") == "OK"
        assert master("one") == "one", "the lonely one knows nothing of it"
        assert member("one", "get", "stock") == "before"

    until(lambda: master("one") == new)
    until(lambda: "master_link_status:up" in member("one", "info", "replication"))
    assert member("one", "get", "stock") == "after"
