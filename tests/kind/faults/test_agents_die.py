"""Faults of one pod's own end: its agent is killed, its network is dead, its profile goes too early."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from innerrun import InnerRun, until
from traffic import DELAY

from pytest_k8s_netem.api.protocol import TRAFFICPROFILES
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
    said = {"pods": "app=dead-net", "namespaces": scene.namespace.name, "exempt": (), "inert": "ignore"}
    with netem.impair(loss="100%", direction="both", **said):
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
        "in force": lambda obj: condition(obj, "Applied") == "True",
    }
    for moment, come in moments.items():
        declared(scene, client, delay="2s")  # its probe takes four seconds
        until(lambda come=come: any(map(come, scene.profiles(client))), lambda moment=moment: moment, 60)
        [profile] = scene.profiles(client)
        assert condition(profile, "Verified") != "True", "it was not being applied any more"
        deleted = time.time()
        scene.cluster._portal.call(scene.cluster._provider.api.delete(TRAFFICPROFILES, "hasty"))
        until(lambda: not scene.profiles(client), lambda: scene.profiles(client), 30)
        client.healed(deleted + 15)


def condition(obj: dict[str, Any], kind: str) -> str:
    found = (obj.get("status") or {}).get("conditions") or ()
    return next((str(one["status"]) for one in found if one["type"] == kind), "")


def declared(scene: Any, client: Any, delay: str = f"{DELAY}ms", namespace: str = "") -> None:
    """Apply a TrafficProfile of the client's name, as kubectl does."""
    where = {"matchLabels": {"kubernetes.io/metadata.name": namespace or scene.namespace.name}}
    spec = {"namespaceSelector": where, "podSelector": {"matchLabels": {"app": client.name}}, "egress": [{}]}
    obj = {"apiVersion": "k8s-netem.riasc.eu/v1", "kind": "TrafficProfile", "metadata": {"name": client.name}}
    scene.cluster.apply({**obj, "spec": {**spec, "impairment": {"delay": delay}}})
