"""No webhook answers: nobody is there, or it cannot be called, or its certificate has expired."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from declaring import declared, deleted, gone, said
from innerrun import InnerRun, until, waited
from standstill import LEASE, MORE, back

from pytest_k8s_netem.api.protocol import DEPLOYMENTS, SECRETS, TRAFFICPROFILES
from pytest_k8s_netem.kube import sidecar
from pytest_k8s_netem.kube.certificates import LIFE, Certificates, ends, renewed
from pytest_k8s_netem.kube.install.names import CERTIFICATES, CONTROLLER, NAMESPACE, PORT, service_names
from pytest_k8s_netem.kube.rotation import EVERY

NONSENSE = {"spec": {"impairment": {"dilay": "1ms"}}}
"""The schema lets unknown fields pass, so that they are refused and not dropped: by whom else than the webhook."""


@dataclass
class Away:
    """What was done while no controller lived, so no webhook either.

    :ivar uncared: a pod that was made. :ivar edited: its profile was in force, and edited to nonsense at ``at``.
    :ivar vain: a nonsensical profile for it was made. :ivar unattended: a pod that was made with the sidecar.
    """

    uncared: Any
    edited: Any
    vain: Any
    unattended: Any
    at: float


@pytest.fixture(scope="module")
def away(scene: Any, injected: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[Away]:
    edited, vain = scene.clients("edited", "vain")
    declared(scene, edited)
    edited.impaired()
    scale(scene, 0)
    until(lambda: not scene.cluster.pods(namespace=NAMESPACE), lambda: "a controller lives", 60)
    at = time.time()
    try:
        uncared = scene.client("uncared")
        [unattended] = scene.started(injected(scene.manifest("unattended")))
        nonsense(scene, edited)
        declared(scene, vain, dilay="1ms")
    finally:
        scale(scene, 1)
    back(scene)
    yield Away(uncared, edited, vain, unattended, at)
    scene.remove([uncared, edited, vain, unattended])


def scale(scene: Any, replicas: int) -> None:
    scene.call("patch", DEPLOYMENTS, CONTROLLER, {"spec": {"replicas": replicas}}, NAMESPACE)


def sidecars(client: Any) -> list[str]:
    there = client.pod.object["spec"].get("initContainers") or ()
    return [one["name"] for one in there if one["name"].startswith("netem-agent")]


def test_pods_made_meanwhile_are_counted_and_impaired(scene: Any, inner: Callable[..., InnerRun], away: Away) -> None:
    client = away.uncared
    assert sidecars(client) == []
    named = f"{scene.namespace.name}/{client.name}"
    told = "pods without sidecar in enabled namespaces: "
    until(
        lambda: any(told in line and named in line for line in scene.controller().logs().splitlines()),
        scene.controller().logs,
    )
    run = inner(scene.test(client))
    run.reached("test_uncared")
    client.impaired()
    [agent] = client.pod.object["spec"]["ephemeralContainers"]
    assert agent["name"].startswith("netem-agent-")
    run.allow()
    run.passed()
    client.healed(time.time() + 5)


def test_a_pod_that_nobody_had_a_plan_for_starts_and_is_impaired(
    scene: Any, inner: Callable[..., InnerRun], away: Away
) -> None:
    client = away.unattended
    status = client.pod.object["status"]
    began, started = (
        datetime.fromisoformat(status[field][0]["state"]["running"]["startedAt"])
        for field in ("initContainerStatuses", "containerStatuses")
    )
    assert (started - began).total_seconds() >= sidecar.PATIENCE - 1, "it waited for somebody; times are whole seconds"
    run = inner(scene.test(client))
    run.reached("test_unattended")
    client.impaired()
    assert not client.pod.object["spec"].get("ephemeralContainers"), "its own agent is found"
    run.allow()
    run.passed()
    client.healed(time.time() + 5)


def test_nonsense_made_meanwhile_is_told_and_touches_nothing(scene: Any, away: Away) -> None:
    client = away.vain
    refused(scene, client)
    client.healed(time.time() + 5)  # it never was impaired
    sane = {"spec": {"impairment": {"dilay": None}}}
    scene.call("patch", TRAFFICPROFILES, client.name, sane)
    client.impaired()
    deleted(scene, client)
    gone(scene, client)


def test_an_expired_certificate_is_rotated(scene: Any) -> None:
    now = scene.call("get", SECRETS, CERTIFICATES, NAMESPACE)
    current = Certificates.of_data(now["data"])
    assert current is not None
    past = datetime.now(UTC) - LIFE - timedelta(days=1)
    made_then = renewed(Certificates(current.trusted, current.ca_key, current.chain, current.key), ["other"], past)
    expired = renewed(made_then, service_names(), past)
    assert ends(expired) < datetime.now(UTC)
    scene.call("patch", SECRETS, CERTIFICATES, {"data": expired.to_data()}, NAMESPACE)

    def rotated() -> bool:
        found = Certificates.of_data(scene.call("get", SECRETS, CERTIFICATES, NAMESPACE)["data"])
        return found is not None and found.chain != expired.chain and ends(found) > datetime.now(UTC)

    until(rotated, lambda: "the certificate stays expired", 2 * EVERY + 10)
    until(lambda: injects(scene), lambda: scene.controller().logs()[-2000:], 60)


def injects(scene: Any) -> bool:
    client = scene.client(f"after-{time.monotonic_ns() % 1_000_000}")
    return sidecars(client) == ["netem-agent"]


def test_nonsense_that_a_webhook_out_of_reach_could_not_refuse(scene: Any, request: pytest.FixtureRequest) -> None:
    """The controller that lives tells it in the status, and what was in force stays so."""
    client = scene.client("seen")
    declared(scene, client)
    client.impaired()
    request.getfixturevalue("cut_off")
    edited = time.time()
    nonsense(scene, client)
    refused(scene, client)
    client.impaired()
    assert not client.trace().fast(edited)
    deleted(scene, client)
    gone(scene, client)
    client.healed(time.time() + 5)


@pytest.fixture
def cut_off(scene: Any) -> Iterator[None]:
    """The API server cannot reach the webhooks, not even by a connection that it has; the controller goes on."""
    address, main = scene.controller().ip, scene.nodes.main
    rule = ["OUTPUT", "-p", "tcp", "-d", address, "--dport", str(PORT), "-j", "REJECT", "--reject-with", "tcp-reset"]
    scene.nodes.run(main, "iptables", "-I", *rule)
    try:
        yield
    finally:
        scene.nodes.run(main, "iptables", "-D", *rule)


def test_what_was_in_force_outlives_its_lease_although_it_was_edited_meanwhile(scene: Any, away: Away) -> None:
    """The controller that came did not know what had been in force, but for the status."""
    client = away.edited
    refused(scene, client)
    waited(away.at + LEASE + MORE)
    client.impaired()
    assert not client.trace().fast(away.at)
    deleted(scene, client)
    gone(scene, client)
    client.healed(time.time() + 5)


def nonsense(scene: Any, client: Any) -> None:
    """Edit the client's profile to what cannot be meant."""
    changed = scene.call("patch", TRAFFICPROFILES, client.name, NONSENSE)
    assert changed["spec"]["impairment"]["dilay"], "the API server took it"


def refused(scene: Any, client: Any) -> None:
    """Wait until the status of the client's profile refuses it, for what it says now."""

    def told() -> bool:
        [profile] = scene.profiles(client)
        accepted = said(scene, client, "Accepted")
        return (accepted.get("status"), accepted.get("observedGeneration")) == (
            "False",
            profile["metadata"]["generation"],
        )

    until(told, lambda: scene.profiles(client))
    accepted = said(scene, client, "Accepted")
    assert accepted["reason"] == "Invalid"
    assert "spec.impairment.dilay" in accepted["message"]
