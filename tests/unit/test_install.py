"""The objects of an installation, applied and removed on the memory store; rights; what users redirect into files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import yaml

from pytest_k8s_netem.api.memory import MemoryApi
from pytest_k8s_netem.api.protocol import (
    DEPLOYMENTS,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    ROLEBINDINGS,
    TRAFFICPROFILES,
    Kind,
)
from pytest_k8s_netem.controller.profiles import FINALIZER
from pytest_k8s_netem.errors import ApiError, ClusterError, ConfigError
from pytest_k8s_netem.kube.install import apply, bundle, hooks, optin, remove, rights
from pytest_k8s_netem.kube.install.names import AGENTS, CONTROLLER, NAMESPACE, WEBHOOKS
from pytest_k8s_netem.kube.install.objects import objects

IMAGES = ("registry/controller:1", "registry/agent:1")


def run(scenario: Callable[[MemoryApi], Awaitable[None]]) -> None:
    async def main() -> None:
        api = MemoryApi()
        for kind, obj in objects(*IMAGES):
            await apply.apply(api, kind, obj)
        await api.create(NAMESPACES, {"metadata": {"name": "shop"}})
        await scenario(api)

    asyncio.run(main())


async def labels(api: MemoryApi, namespace: str) -> dict[str, str]:
    found: dict[str, str] = (await api.get(NAMESPACES, namespace))["metadata"].get("labels", {})
    return found


def everything(api: MemoryApi) -> set[tuple[str, str, str]]:
    return {(kind.plural, *place) for kind, several in api._objects.items() for place in several}


# Objects


def test_applying_twice_changes_nothing() -> None:
    async def scenario(api: MemoryApi) -> None:
        before = {kind: (await api.list(kind)).items for kind, _ in objects(*IMAGES)}
        for kind, obj in objects(*IMAGES):
            await apply.apply(api, kind, obj)
        assert before == {kind: (await api.list(kind)).items for kind, _ in objects(*IMAGES)}

    run(scenario)


def test_an_upgrade_keeps_the_authority_that_webhooks_trust() -> None:
    async def scenario(api: MemoryApi) -> None:
        hook = hooks.mutating()["webhooks"][0]
        trusting = {**hook, "clientConfig": {**hook["clientConfig"], "caBundle": "Q0E="}, "timeoutSeconds": 30}
        await api.patch(MUTATING_WEBHOOKS, WEBHOOKS, {"webhooks": [trusting]})
        await apply.apply(api, MUTATING_WEBHOOKS, hooks.mutating())
        [now] = (await api.get(MUTATING_WEBHOOKS, WEBHOOKS))["webhooks"]
        assert now["clientConfig"]["caBundle"] == "Q0E="
        assert now["timeoutSeconds"] == hooks.TIMEOUT

    run(scenario)


def test_both_webhooks_let_pass_what_nobody_answers() -> None:
    for configuration in (hooks.mutating(), hooks.validating()):
        [hook] = configuration["webhooks"]
        assert hook["failurePolicy"] == "Ignore"
        assert hook["sideEffects"] == "None"
        assert hook["timeoutSeconds"] <= 5
    [hook] = hooks.mutating()["webhooks"]
    assert [rule["operations"] for rule in hook["rules"]] == [["CREATE"]]
    assert hook["namespaceSelector"]["matchLabels"] == {"k8s-netem.riasc.eu/inject": "enabled"}
    [never] = hook["namespaceSelector"]["matchExpressions"]
    assert {*never["values"]} == {"kube-system", "kube-public", "kube-node-lease", "k8s-netem"}


def test_the_controller_may_do_what_a_restricted_namespace_lets_it() -> None:
    [deployment] = [obj for kind, obj in objects(*IMAGES) if kind is DEPLOYMENTS]
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    confined = container["securityContext"]
    assert confined["capabilities"] == {"drop": ["ALL"]}
    assert confined["readOnlyRootFilesystem"]
    assert not confined["allowPrivilegeEscalation"]
    assert container["image"], container["env"][0]["value"] == IMAGES


def test_the_definition_is_small_enough_for_kubectl_apply() -> None:
    """It keeps the last applied object in an annotation, and annotations end at 256 KiB."""
    for _, obj in objects(*IMAGES):
        assert len(json.dumps(obj)) < (256 << 10) - 8192


# Rights


def test_each_right_says_why_and_none_is_for_everything() -> None:
    for right in (*rights.EVERYWHERE, *rights.OWN, *rights.OPTED_IN):
        assert len(right.why) > 20
        assert "*" not in (right.group, *right.resources, *right.verbs)


def test_nothing_reaches_into_pods_but_where_somebody_opted_in() -> None:
    for right in (*rights.EVERYWHERE, *rights.OWN):
        assert not any(name.startswith("pods/") for name in right.resources)
        assert right.resources != ("secrets",) or right.names
    wide = {right.resources: right.verbs for right in rights.EVERYWHERE}
    assert wide["pods", "namespaces", "nodes", "services"] == ("get", "list", "watch")


# Opting in


def test_label_and_binding_come_and_go_together() -> None:
    async def scenario(api: MemoryApi) -> None:
        await optin.enable(api, "shop")
        assert (await labels(api, "shop"))["k8s-netem.riasc.eu/inject"] == "enabled"
        binding = await api.get(ROLEBINDINGS, AGENTS, "shop")
        assert binding["roleRef"]["name"] == AGENTS
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": CONTROLLER, "namespace": NAMESPACE}]
        await optin.enable(api, "shop")
        for _ in range(2):
            await optin.disable(api, "shop")
            assert "k8s-netem.riasc.eu/inject" not in await labels(api, "shop")
            with pytest.raises(ApiError, match="not found"):
                await api.get(ROLEBINDINGS, AGENTS, "shop")

    run(scenario)


@pytest.mark.parametrize("namespace", ["kube-system", "kube-public", "kube-node-lease", "k8s-netem"])
def test_some_namespaces_are_never_touched(namespace: str) -> None:
    async def scenario(api: MemoryApi) -> None:
        with pytest.raises(ConfigError, match="never touched"):
            await optin.enable(api, namespace)

    run(scenario)


def test_a_namespace_that_would_refuse_agents_is_told_so() -> None:
    async def scenario(api: MemoryApi) -> None:
        strict = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
        await api.patch(NAMESPACES, "shop", strict)
        with pytest.raises(ConfigError, match=r"pod-security\.kubernetes\.io/enforce=restricted"):
            await optin.enable(api, "shop")
        assert "k8s-netem.riasc.eu/inject" not in await labels(api, "shop")

    run(scenario)


def test_without_an_installation_nothing_is_enabled() -> None:
    async def scenario() -> None:
        api = MemoryApi()
        with pytest.raises(ConfigError, match="netem install"):
            await optin.enable(api, "default")
        with pytest.raises(ApiError, match="not found"):
            await optin.enable(api, "nowhere")

    asyncio.run(scenario())


# Removing


def profile(name: str) -> dict[str, Any]:
    spec = {"podSelector": {}, "egress": [{}], "impairment": {"delay": "1ms"}}
    return {"metadata": {"name": name, "finalizers": [FINALIZER, "other/one"]}, "spec": spec}


def test_with_nobody_to_heal_profiles_go_at_once_and_nothing_stays() -> None:
    async def scenario(api: MemoryApi) -> None:
        before = {("namespaces", "", "default"), ("namespaces", "", "shop")}
        await optin.enable(api, "shop")
        await api.create(TRAFFICPROFILES, profile("slow"))
        await api.patch(TRAFFICPROFILES, "slow", {"metadata": {"finalizers": [FINALIZER]}})
        removed = await remove.uninstall(api)
        assert removed[:2] == ["TrafficProfile slow", "the opt-in of namespace shop"]
        assert f"Deployment {CONTROLLER}" in removed
        assert f"Namespace {NAMESPACE}" in removed
        assert everything(api) == before
        assert await remove.uninstall(api) == []

    run(scenario)


def test_a_namespace_that_was_there_before_stays() -> None:
    async def scenario() -> None:
        api = MemoryApi()
        await api.create(NAMESPACES, {"metadata": {"name": NAMESPACE, "labels": {"theirs": "yes"}}})
        before = everything(api), await api.get(NAMESPACES, NAMESPACE)
        for kind, obj in objects(*IMAGES):
            await apply.apply(api, kind, obj)
        await remove.uninstall(api)
        assert (everything(api), await api.get(NAMESPACES, NAMESPACE)) == before

    asyncio.run(scenario())


def test_while_a_controller_lives_it_heals_first() -> None:
    async def scenario(api: MemoryApi) -> None:
        await api.patch(DEPLOYMENTS, CONTROLLER, {"status": {"availableReplicas": 1}}, NAMESPACE, "status")
        obj = profile("slow")
        obj["metadata"]["finalizers"] = [FINALIZER]
        await api.create(TRAFFICPROFILES, obj)
        healing = asyncio.create_task(remove.healed(api))
        async with asyncio.timeout(10):
            while "deletionTimestamp" not in (await api.get(TRAFFICPROFILES, "slow"))["metadata"]:
                await asyncio.sleep(0.01)
        assert not healing.done()
        await api.patch(TRAFFICPROFILES, "slow", {"metadata": {"finalizers": []}})  # the controller has healed it
        assert await healing == ["slow"]

    run(scenario)


def test_a_finalizer_of_others_is_not_ours_to_take() -> None:
    async def scenario(api: MemoryApi) -> None:
        await api.create(TRAFFICPROFILES, profile("slow"))
        await remove.healed(api)
        assert (await api.get(TRAFFICPROFILES, "slow"))["metadata"]["finalizers"] == ["other/one"]

    run(scenario)


# Waiting


def test_a_controller_that_does_not_come_up_is_told_with_its_reason() -> None:
    async def scenario(api: MemoryApi) -> None:
        with pytest.raises(ClusterError, match=r"did not come up within 0\.1 s: "):
            await apply.available(api, within=0.1)

    run(scenario)


def test_webhooks_that_nobody_asks_are_told() -> None:
    async def scenario(api: MemoryApi) -> None:
        with pytest.raises(ClusterError, match="no answer from its webhooks"):
            await apply.answering(api, within=0.1)

    run(scenario)


# As files


def test_a_stream_has_every_object_in_order() -> None:
    found = [*yaml.safe_load_all(bundle.stream(*IMAGES))]
    assert found == [obj for _, obj in objects(*IMAGES)]


def test_a_base_lists_its_files(tmp_path: Any) -> None:
    files = bundle.base(*IMAGES)
    bundle.write(tmp_path, files)
    head = yaml.safe_load((tmp_path / "kustomization.yaml").read_text(encoding="utf-8"))
    listed = [yaml.safe_load((tmp_path / name).read_text(encoding="utf-8")) for name in head["resources"]]
    assert listed == [obj for _, obj in objects(*IMAGES)]
    assert len(files) == len(listed) + 1


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Any) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file"):
        bundle.write(tmp_path / "file", {"a": ""})


@pytest.mark.parametrize(
    ("version", "semantic"),
    [("0.1.0.dev0", "0.1.0-dev0"), ("1.2.3", "1.2.3"), ("1.2rc1", "1.2.0-rc1"), ("", "0.0.0"), ("2", "2.0.0")],
)
def test_a_version_as_helm_wants_it(version: str, semantic: str) -> None:
    assert bundle.semantic(version) == semantic


def test_no_kind_is_applied_that_uninstall_does_not_know() -> None:
    kinds: list[Kind] = [kind for kind, _ in objects(*IMAGES)]
    inside = {obj["metadata"].get("namespace") for _, obj in objects(*IMAGES)} - {None}
    assert inside == {NAMESPACE}, "what is in the namespace goes with it"
    assert kinds[0] is NAMESPACES
