"""The webhooks on a real API server, which calls them at an address here, with the installed rights alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from control_plane import Lab, control_plane

from pytest_k8s_netem.api.connection import Connection
from pytest_k8s_netem.api.kubernetes import KubernetesApi
from pytest_k8s_netem.api.protocol import (
    MUTATING_WEBHOOKS,
    NAMESPACES,
    PODS,
    SECRETS,
    TRAFFICPROFILES,
    VALIDATING_WEBHOOKS,
)
from pytest_k8s_netem.controller.profiles import FINALIZER
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.kube import sidecar
from pytest_k8s_netem.kube.access import Access
from pytest_k8s_netem.kube.certificates import CA_LIFE, Certificates, renewed
from pytest_k8s_netem.kube.definition import define
from pytest_k8s_netem.kube.install import apply, hooks, optin
from pytest_k8s_netem.kube.install.names import CERTIFICATES, CONTROLLER, NAMESPACE, WEBHOOKS
from pytest_k8s_netem.kube.install.objects import objects
from pytest_k8s_netem.kube.rotation import Rotation
from pytest_k8s_netem.kube.webhook import MUTATE, VALIDATE, WebhookServer

pytestmark = pytest.mark.needs("apiserver")

IMAGE = "registry/agent:1"
NAMES = ("127.0.0.1",)


class Hooks:
    """The webhooks of a controller whose account has the rights that are installed, and no others."""

    def __init__(self, lab: Lab, kubeconfig: Path) -> None:
        self.lab = lab
        self.api = KubernetesApi(partial(Connection.from_kubeconfig, str(kubeconfig)))
        self.rotation = Rotation(self.api, NAMESPACE, NAMES)
        self.access = Access(self.api)
        self.server = WebhookServer(IMAGE, self.access.namespace, ready=lambda: self.rotation.unready)
        self.port = 0

    async def start(self) -> None:
        self.port = await self.server.start("127.0.0.1", self.port, self.rotation.tls)
        api, url = self.lab.api, f"https://127.0.0.1:{self.port}"
        await apply.apply(api, MUTATING_WEBHOOKS, hooks.mutating({"url": url + MUTATE}))
        await apply.apply(api, VALIDATING_WEBHOOKS, hooks.validating({"url": url + VALIDATE}))
        await self.rotation.look()
        await apply.answering(api)

    async def stop(self) -> None:
        await self.server.stop()
        await self.api.close()


def account(lab: Lab, directory: Path) -> Path:
    """A kubeconfig of the controller's account, as its pod's token would be."""
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{CONTROLLER}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = lab.api.connection().request("POST", path, body=request)["status"]["token"]
    config = json.loads(lab.plane.kubeconfig.read_text(encoding="utf-8"))
    config["users"][0]["user"] = {"token": token}
    written = directory / "account"
    written.write_text(json.dumps(config), encoding="utf-8")
    return written


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with control_plane(tmp_path_factory.mktemp("plane")) as lab:

        async def install() -> None:
            for kind, obj in objects("registry/controller:1", IMAGE):
                if kind not in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS):
                    await apply.apply(lab.api, kind, obj)
            await define(lab.api)
            await lab.api.create(TRAFFICPROFILES, profile("old-nonsense", nonsense=True))
            for namespace in ("shop", "plain", "labelled", "strict"):
                await lab.api.create(NAMESPACES, {"metadata": {"name": namespace}})

        lab.call(install())
        yield lab


@pytest.fixture(scope="module")
def served(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hooks]:
    async def made() -> Hooks:
        served = Hooks(lab, account(lab, tmp_path_factory.mktemp("account")))
        await served.start()
        return served

    served = lab.call(made())
    yield served
    lab.call(served.stop())


def profile(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"podSelector": {}, "egress": [{}], "impairment": {"delay": "1ms"}, **spec},
    }


def pod() -> dict[str, Any]:
    """As a ReplicaSet makes it: without a name."""
    return {"metadata": {"generateName": "web-"}, "spec": {"containers": [{"name": "main", "image": "none"}]}}


def injected(lab: Lab, namespace: str, **more: Any) -> bool:
    obj = pod()
    obj["spec"].update(more)
    return sidecar.has(lab.call(lab.api.create(PODS, obj, namespace)))


# Profiles


def test_a_bad_profile_is_refused_with_path_and_reason(served: Hooks) -> None:
    api = served.lab.api
    obj = profile("bad", impairment={"delay": "1ms", "jiter": "1ms"}, to="nowhere")
    with pytest.raises(ApiError) as caught:
        served.lab.call(api.create(TRAFFICPROFILES, obj))
    assert caught.value.status == 422
    assert f"trafficprofiles.{WEBHOOKS}" in str(caught.value)
    assert "spec.impairment.jiter" in str(caught.value)
    assert "did you mean jitter?" in str(caught.value)
    assert "spec.to" in str(caught.value)
    made = served.lab.call(api.create(TRAFFICPROFILES, profile("good")))
    with pytest.raises(ApiError, match=r"spec\.nonsense"):
        served.lab.call(api.patch(TRAFFICPROFILES, "good", {"spec": {"nonsense": 1}}))
    assert served.lab.call(api.get(TRAFFICPROFILES, "good")) == made
    served.lab.call(api.delete(TRAFFICPROFILES, "good"))


def test_nonsense_from_before_can_be_told_of_finished_and_deleted(served: Hooks) -> None:
    api, call = served.lab.api, served.lab.call
    call(api.patch(TRAFFICPROFILES, "old-nonsense", {"status": {"conditions": []}}, subresource="status"))
    call(api.patch(TRAFFICPROFILES, "old-nonsense", {"metadata": {"finalizers": [FINALIZER]}}))
    with pytest.raises(ApiError, match=r"spec\.nonsense"):
        call(api.patch(TRAFFICPROFILES, "old-nonsense", {"spec": {"impairment": {"delay": "2ms"}}}))
    call(api.delete(TRAFFICPROFILES, "old-nonsense"))
    call(api.patch(TRAFFICPROFILES, "old-nonsense", {"metadata": {"finalizers": []}}))
    with pytest.raises(ApiError, match="not found"):
        call(api.get(TRAFFICPROFILES, "old-nonsense"))


# Pods


def test_pods_get_agents_where_namespaces_are_enabled(served: Hooks) -> None:
    call, api = served.lab.call, served.lab.api
    assert not injected(served.lab, "plain")
    call(optin.enable(api, "shop"))
    made = call(api.create(PODS, pod(), "shop"))
    [agent] = made["spec"]["initContainers"]
    assert (agent["image"], agent["restartPolicy"]) == (IMAGE, "Always")
    assert [one["name"] for one in made["spec"]["containers"]] == ["main"]
    assert not injected(served.lab, "shop", hostNetwork=True)
    call(optin.disable(api, "shop"))
    assert not injected(served.lab, "shop")


def test_pods_wait_for_their_plan(served: Hooks) -> None:
    """An API server takes the hook, and keeps it as it is."""
    call, api = served.lab.call, served.lab.api
    call(optin.enable(api, "shop"))
    [agent] = call(api.create(PODS, pod(), "shop"))["spec"]["initContainers"]
    assert agent["lifecycle"] == sidecar.container(IMAGE)["lifecycle"]
    call(optin.disable(api, "shop"))


def test_where_the_controller_may_not_go_it_leaves_no_agent(served: Hooks) -> None:
    """The label alone is not enough: somebody set it by hand."""
    call, api = served.lab.call, served.lab.api
    call(api.patch(NAMESPACES, "labelled", {"metadata": {"labels": {"k8s-netem.riasc.eu/inject": "enabled"}}}))
    assert not call(reachable(served, "labelled"))
    assert not injected(served.lab, "labelled")
    call(optin.enable(api, "labelled"))
    assert call(reachable(served, "labelled"))
    assert injected(served.lab, "labelled")


async def reachable(served: Hooks, namespace: str) -> bool:
    return await served.access.reachable(namespace)


def test_where_agents_would_be_refused_pods_come_without(served: Hooks) -> None:
    """A pod that is mutated there could not be made at all."""
    call, api = served.lab.call, served.lab.api
    call(optin.enable(api, "strict"))
    strict = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
    call(api.patch(NAMESPACES, "strict", strict))
    assert not injected(served.lab, "strict")


def test_the_systems_namespaces_are_left_alone(served: Hooks) -> None:
    call, api = served.lab.call, served.lab.api
    call(api.patch(NAMESPACES, "kube-system", {"metadata": {"labels": {"k8s-netem.riasc.eu/inject": "enabled"}}}))
    assert not injected(served.lab, "kube-system")


# Certificates


def test_an_expired_certificate_is_replaced_while_the_server_runs(served: Hooks) -> None:
    call, api = served.lab.call, served.lab.api
    old = renewed(None, NAMES, datetime.now(UTC) - 2 * CA_LIFE)

    async def expire() -> None:
        await api.patch(SECRETS, CERTIFICATES, {"data": old.to_data()}, NAMESPACE)
        await served.rotation.look()

    call(expire())
    now = Certificates.of_data(call(api.get(SECRETS, CERTIFICATES, NAMESPACE))["data"])
    assert now is not None
    assert now != old
    call(apply.answering(api))


def test_a_wiped_secret_and_a_wiped_configuration_are_filled_again(served: Hooks) -> None:
    call, api = served.lab.call, served.lab.api

    async def wipe() -> None:
        await api.patch(SECRETS, CERTIFICATES, {"data": {"tls.key": "bm9uc2Vuc2U="}}, NAMESPACE)
        url = f"https://127.0.0.1:{served.port}{VALIDATE}"
        await api.patch(VALIDATING_WEBHOOKS, WEBHOOKS, hooks.validating({"url": url}))
        await served.rotation.look()

    call(wipe())
    call(apply.answering(api))


def test_a_new_authority_is_no_gap(served: Hooks) -> None:
    """While certificates change, nonsense is refused each time that it is tried."""
    call, api = served.lab.call, served.lab.api
    soon = renewed(None, NAMES, datetime.now(UTC) - CA_LIFE + timedelta(days=100))

    async def change() -> int:
        await api.patch(SECRETS, CERTIFICATES, {"data": soon.to_data()}, NAMESPACE)
        await served.rotation.look()  # a new certificate of the new authority
        looking = asyncio.create_task(age_and_look())
        refused = 0
        while not looking.done():
            with pytest.raises(ApiError, match="denied"):
                await api.create(TRAFFICPROFILES, apply.NONSENSE, dry_run=True)
            refused += 1
        await looking
        return refused

    async def age_and_look() -> None:
        secret = await api.get(SECRETS, CERTIFICATES, NAMESPACE)
        current = Certificates.of_data(secret["data"])
        assert current is not None
        other = renewed(None, NAMES)
        both = Certificates(other.trusted + current.trusted, other.ca_key, other.chain, other.key)
        await api.patch(SECRETS, CERTIFICATES, {"data": both.to_data()}, NAMESPACE)
        await served.rotation.look()

    assert call(change()) > 10


# Ends


def test_nobody_waits_for_webhooks_that_are_gone(served: Hooks) -> None:
    call, api = served.lab.call, served.lab.api

    async def down() -> None:
        await served.server.stop()

    call(down())
    try:
        assert not injected(served.lab, "labelled")
        assert call(api.create(TRAFFICPROFILES, profile("unseen", nonsense=True)))["spec"]["nonsense"] is True
        call(api.delete(TRAFFICPROFILES, "unseen"))
    finally:
        call(served.start())
    assert injected(served.lab, "labelled")
