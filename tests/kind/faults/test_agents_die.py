"""Faults of one pod's own end: its agent is killed, its network is dead, its namespace goes, two tests want it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from declaring import declared, deleted, gone, said
from innerrun import InnerRun, until
from traffic import DELAY

from pytest_k8s_netem.api.protocol import NAMESPACES
from pytest_k8s_netem.controller.profiles import FINALIZER

QUEUED = 1
"""Seconds that packets may wait after a healing, says the contract; more is allowed for a busy machine below."""


def test_a_killed_agent_is_replaced_and_told(scene: Any, inner: Callable[..., InnerRun]) -> None:
    client = scene.client("agent-killed")
    run = inner(scene.test(client))
    run.reached("test_agent_killed")
    client.impaired()
    node, pid = scene.nodes.agent(client.pod)
    killed = time.time()
    scene.nodes.run(node, "kill", "-9", str(pid))
    until(lambda: not scene.nodes.run(node, "sh", "-c", f"ls -d /proc/{pid} || true"), lambda: "it lives")
    until(lambda: scene.nodes.agent(client.pod)[1] not in (0, pid), lambda: "no other agent came", 60)
    until(lambda: applied(scene, client), lambda: scene.profiles(client), 60)
    client.impaired()
    run.allow()
    assert run.ended() == 1, run.output
    [(start, end)] = re.findall(
        rf"lost from (\S+) to (\d\S+) on pod/{scene.namespace.name}/agent-killed", run.output.partition("short test")[0]
    )[:1]
    assert time.strftime("%H:%M:%S", time.localtime(killed - 2)) <= start <= end
    assert re.search(r"1 passed, 1 error", run.output), run.output
    client.healed(time.time() + 5)
    assert scene.profiles(client) == []


def applied(scene: Any, client: Any) -> bool:
    """Whether the profile of a client is in force and proven."""
    [profile] = scene.profiles(client)
    return all(one["status"] == "True" for one in profile["status"]["conditions"])


def test_total_loss_does_not_keep_a_pod_from_being_healed(scene: Any, netem: Any) -> None:
    """The controller's way to the agent does not cross the impaired network."""
    client = scene.client("dead-net")
    pods = {"pods": "app=dead-net", "namespaces": scene.namespace.name}
    with netem.impair(loss="100%", direction="both", exempt=(), inert="ignore", **pods):
        dead = time.time()
        until(lambda: time.time() > dead + 1.5, lambda: "")  # what a second of silence needs
        ended = time.time()
    assert not [at for at, _ in client.trace().samples if dead <= at <= ended], "no datagram came back"
    client.healed(ended + QUEUED + 4)


def test_a_profile_deleted_while_it_is_applied(scene: Any) -> None:
    """At three moments: just made, held by the finalizer, in force and not proven yet."""
    client = scene.client("hasty")
    moments: dict[str, Callable[[dict[str, Any]], bool]] = {
        "made": lambda obj: True,
        "held": lambda obj: FINALIZER in obj["metadata"].get("finalizers", ()),
        "in force": lambda _: said(scene, client, "Applied").get("status") == "True",
    }
    for moment, come in moments.items():
        declared(scene, client, delay="2s")  # its probe takes four seconds
        until(lambda come=come: any(map(come, scene.profiles(client))), lambda moment=moment: moment, 60)
        assert said(scene, client, "Verified").get("status") != "True", "it was not being applied any more"
        asked = time.time()
        deleted(scene, client)
        gone(scene, client)
        client.healed(asked + 15)


def test_two_tests_impair_one_pod_at_the_same_time(scene: Any, inner: Callable[..., InnerRun]) -> None:
    client = scene.client("shared")
    source = scene.test(client, name="one") + scene.test(client, name="two")
    run = inner(source, "-n2", "--dist=load")
    run.reached("test_one")
    run.reached("test_two")
    met(client, 2 * DELAY)
    run.allow("test_one")
    until(lambda: "PASSED test_it.py::test_one" in run.output, lambda: run.output, 60)
    both = time.time()
    until(lambda: [rtt for at, rtt in client.trace().samples if at > both and DELAY <= rtt < 2 * DELAY], client.trace)
    assert not client.trace().fast(both)
    run.allow()
    run.passed()
    client.healed(time.time() + 5)
    assert scene.profiles(client) == []


def met(client: Any, delay: float) -> None:
    since = time.time()
    until(lambda: [rtt for at, rtt in client.trace().samples if at > since], client.trace)
    assert min(rtt for at, rtt in client.trace().samples if at > since) >= delay


@pytest.mark.timeout(300)
def test_a_namespace_is_deleted_under_impairment(scene: Any, netem_session: Any) -> None:
    """It does not wait for the profile's finalizer, and the profile goes when it is told to."""
    namespace = netem_session.make_namespace("deleted")
    other = type(scene)(scene.cluster, namespace, scene.nodes, scene._pod)
    other.server = scene.server
    client = other.client("doomed")
    declared(scene, client)
    client.impaired()
    scene.call("delete", NAMESPACES, namespace.name)
    until(
        lambda: namespace.name not in {obj["metadata"]["name"] for obj in scene.listed(NAMESPACES)},
        lambda: scene.listed(NAMESPACES),
        90,
    )
    [profile] = scene.profiles(client)
    assert FINALIZER in profile["metadata"]["finalizers"], "it is still held, and the namespace was not"
    deleted(scene, client)
    gone(scene, client)
