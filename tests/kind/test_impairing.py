"""Impairments of real pods, measured by the pods themselves."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_k8s_netem.api.protocol import LEASES, SERVICEACCOUNTS
from pytest_k8s_netem.cluster.readiness import made
from pytest_k8s_netem.controller.moments import microtime
from pytest_k8s_netem.errors import ClusterError, NetemError
from pytest_k8s_netem.kube.install import optin
from pytest_k8s_netem.kube.install.names import NAMESPACE
from pytest_k8s_netem.run.identity import EXPIRY, RUN

LEASE = 30
"""Seconds that a run's Lease lives after its last renewal."""


def agents(pod: Any) -> list[dict[str, Any]]:
    spec = pod.object["spec"]
    there = [*spec.get("initContainers", ()), *spec.get("ephemeralContainers", ())]
    return [container for container in there if container["name"].startswith("netem-agent")]


@pytest.mark.netem(rtt="60ms", pods="app=client", to="app=server")
def test_delay_is_measured_by_the_pods_clock(rtt: Callable[[], float]) -> None:
    assert 60 <= rtt() < 90


@pytest.mark.netem(delay="60ms", pods="app=server", from_="app=client")
def test_delay_where_packets_arrive(rtt: Callable[[], float]) -> None:
    assert 60 <= rtt() < 90


def test_an_impairment_ends_with_its_block(rtt: Callable[[], float], netem: Any) -> None:
    with netem.impair(delay="60ms", pods="app=client", to="app=server") as profile:
        assert rtt() >= 60
        profile.update(delay="30ms")
        assert 30 <= rtt() < 60
    assert rtt() < 30


def test_a_pod_gets_one_agent_that_may_do_two_things(pair: Any, rtt: Callable[[], float], netem: Any) -> None:
    for _ in range(2):
        with netem.impair(delay="20ms", pods="app=client", to="app=server"):
            assert rtt() >= 20
    [agent] = agents(pair.pod("client"))
    assert agent["name"] == "netem-agent", "the webhook has put it there"
    at_most_two_things(agent)
    [mount] = agent["volumeMounts"]
    assert mount["name"] == "netem-no-token", "nothing but an empty folder in the place of a token"


def at_most_two_things(agent: dict[str, Any]) -> None:
    allowed = agent["securityContext"]
    assert allowed["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}
    assert allowed["readOnlyRootFilesystem"]
    assert not allowed["privileged"]
    assert not allowed["allowPrivilegeEscalation"]
    assert not agent.get("ports")


@pytest.fixture
def closed(pair: Any) -> Iterator[str]:
    """A namespace that nobody has opened to the controller."""
    name = f"netem-closed-{secrets.token_hex(3)}"
    with pair.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}):
        pair._portal.call(made(pair._provider.api, SERVICEACCOUNTS, "default", name, 30))
        yield name


def test_a_namespace_is_opened_before_its_pods_are_touched(pair: Any, netem: Any, pod: Any, closed: str) -> None:
    """Pods that ran before get their agent beside their containers."""
    pair.apply(pod("early", "sleep", "infinity"), namespace=closed)
    pair.wait_ready(namespace=closed)
    early = pair.pod("early", namespace=closed)
    said = {"pods": "app=early", "namespaces": closed, "delay": "40ms", "inert": "ignore"}
    with pytest.raises(NetemError, match=f"netem namespace enable {closed}"), netem.impair(**said):
        pass
    assert agents(early) == []
    pair._portal.call(optin.enable(pair._provider.api, closed))
    with netem.impair(**said) as profile:
        profile.assert_rtt(median=("40ms", "90ms"))
    [agent] = agents(early)
    assert agent["name"].startswith("netem-agent-")
    at_most_two_things(agent)
    assert not agent.get("volumeMounts"), "no service account's token"


def test_a_pod_that_runs_as_nobody_is_impaired_too(netem_namespace: Any, netem: Any, pod: Any, pair: Any) -> None:
    user = {"runAsUser": 65534, "runAsNonRoot": True}
    netem_namespace.apply(pod("nobody", "sleep", "infinity", securityContext=user))
    netem_namespace.wait_ready()
    assert netem_namespace.exec("nobody", ["id", "-u"]).stdout == "65534\n"
    with netem.impair(delay="40ms", pods="app=nobody", inert="ignore") as profile:
        profile.assert_rtt(median=("40ms", "90ms"))


@pytest.mark.netem(delay="60ms", pods="app=client", to="app=server")
def test_a_lost_api_server_leaves_the_impairment_in_force(
    rtt: Callable[[], float], node: Callable[..., str], netem_profile: Any
) -> None:
    """Killed with all its connections, it comes back within the lease; a gap would be an error at teardown."""
    before = node("pgrep", "-x", "kube-apiserver").split()
    assert rtt() >= 60
    node("kill", "-9", *before)
    deadline = time.monotonic() + 10
    while set(before) & set(node("pgrep", "-x", "kube-apiserver", check=False).split()):
        assert time.monotonic() < deadline, "it was not killed"
    assert until_it_answers(rtt) >= 60
    netem_profile.assert_rtt(median=("60ms", "110ms"))


def until_it_answers(ask: Callable[[], float], seconds: float = 60) -> float:
    end = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except ClusterError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def test_a_sweep_takes_what_a_dead_run_left(pair: Any) -> None:
    """Its Lease, which was not renewed for a minute, says that it is dead; its namespace goes with it."""
    name = f"netem-dead-{secrets.token_hex(3)}"
    labels = {RUN: name, EXPIRY: str(int(time.time()) + 3600)}
    spec = {"leaseDurationSeconds": LEASE, "renewTime": microtime(time.time() - 100)}
    lease = {"metadata": {"name": name, "labels": labels}, "spec": spec}
    pair._portal.call(pair._provider.api.create(LEASES, lease, NAMESPACE))
    pair.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    told = [line for line in swept(pair._provider.kubeconfig) if name in line]
    assert [line.split(" of ")[0] for line in told] == [f"removed Namespace {name}", f"removed Lease {name}"]
    assert not [line for line in swept(pair._provider.kubeconfig) if name in line]


def swept(kubeconfig: Path) -> list[str]:
    argv = [sys.executable, "-c", "import sys; from pytest_k8s_netem.cli import main; sys.exit(main())"]
    done = subprocess.run(
        [*argv, "sweep", f"--kubeconfig={kubeconfig}"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
