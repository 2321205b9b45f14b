"""The controller goes away under impairment and comes back: a running test does not notice."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from declaring import declared, deleted, gone
from innerrun import InnerRun, until

from pytest_k8s_netem.api.protocol import LEASES, PODS
from pytest_k8s_netem.controller.moments import microtime
from pytest_k8s_netem.kube.install.names import LEADER, NAMESPACE

LEADS_WITHIN = 60.0
"""Seconds for another controller; on a busy machine a pod takes a while to start."""
PROGRAM = "pytest_k8s_netem.kube.program"


def test_a_controller_that_is_deleted_by_force(scene: Any, inner: Callable[..., InnerRun]) -> None:
    """What is in force stays so, without a gap; a profile deleted meanwhile is healed; later tests are served."""
    stays, goes, later = scene.clients("ctl-stays", "ctl-goes", "ctl-later")
    run = inner(scene.test(stays) + scene.test(later))
    run.reached("test_ctl_stays")
    declared(scene, goes)
    goes.impaired()
    stays.impaired()
    old = scene.controller()
    began = time.time()
    old.delete(grace=0)
    deleted(scene, goes)
    until(lambda: led_by_another(scene, old.name), lambda: scene.listed(PODS, NAMESPACE), LEADS_WITHIN)
    goes.healed(time.time() + 10)
    gone(scene, goes)
    assert not stays.trace().fast(began)
    served(run, stays, later)


def test_a_controller_whose_process_is_killed(scene: Any, inner: Callable[..., InnerRun]) -> None:
    """The kubelet starts it again, in the same pod."""
    stays, later = scene.clients("killed-stays", "killed-later")
    run = inner(scene.test(stays) + scene.test(later))
    run.reached("test_killed_stays")
    stays.impaired()
    pod = scene.controller()
    before = set(scene.nodes.pids(pod.node, PROGRAM))
    assert before
    began = time.time()
    scene.nodes.run(pod.node, "kill", "-9", *map(str, before))
    until(lambda: not before & set(scene.nodes.pids(pod.node, PROGRAM)), lambda: "it was not killed")
    until(lambda: scene.nodes.pids(pod.node, PROGRAM), lambda: scene.listed(PODS, NAMESPACE), LEADS_WITHIN)
    declared(scene, later)
    later.impaired()  # so one is there that acts
    deleted(scene, later)
    gone(scene, later)
    assert not stays.trace().fast(began)
    served(run, stays, later)


def test_a_controller_whose_leadership_another_takes(scene: Any, inner: Callable[..., InnerRun]) -> None:
    """It acts no more, begins anew in the same process, and leads again when the other one's lease is over."""
    stays, later = scene.clients("led-stays", "led-later")
    run = inner(scene.test(stays) + scene.test(later))
    run.reached("test_led_stays")
    stays.impaired()
    pod, epoch = scene.controller(), int(scene.leadership()["leaseTransitions"])
    processes, restarts = scene.nodes.pids(pod.node, PROGRAM), restarts_of(pod)
    began = time.time()
    taken = {"holderIdentity": "another", "leaseDurationSeconds": 5, "leaseTransitions": epoch + 1}
    scene.call("patch", LEASES, LEADER, {"spec": {**taken, "renewTime": microtime()}}, NAMESPACE)
    until(lambda: scene.controller_name() == pod.name, scene.leadership, LEADS_WITHIN)
    assert int(scene.leadership()["leaseTransitions"]) == epoch + 2
    declared(scene, later)
    later.impaired()  # so it acts
    deleted(scene, later)
    gone(scene, later)
    assert (scene.nodes.pids(pod.node, PROGRAM), restarts_of(pod)) == (processes, restarts)
    assert f"leads, epoch {epoch + 2}" in pod.logs()
    assert not stays.trace().fast(began)
    served(run, stays, later)


def restarts_of(pod: Any) -> int:
    return int(pod.object["status"]["containerStatuses"][0]["restartCount"])


def served(run: InnerRun, stays: Any, later: Any) -> None:
    """The running test ends well, and so does the next one."""
    name = "test_" + later.name.replace("-", "_")
    run.allow("test_" + stays.name.replace("-", "_"))
    run.reached(name)
    later.impaired()
    stays.healed(time.time() + 5)
    run.allow(name)
    run.passed()


def led_by_another(scene: Any, old: str) -> bool:
    pods = [pod for pod in scene.cluster.pods(namespace=NAMESPACE) if pod.name != old]
    return any(pod.ready for pod in pods) and scene.controller_name() != old
