"""What every Api must do, whoever keeps it: a suite of classes that a test module runs over a fixture ``run``.

``run(scenario)`` runs ``async def scenario(api, namespace)`` against a store with an empty namespace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pytest_k8s_netem.api.protocol import BINDINGS, NAMESPACES, PODS, SERVICES, TRAFFICPROFILES, Api, Change, Kind
from pytest_k8s_netem.errors import ApiError

Scenario = Callable[[Api, str], Awaitable[None]]
Run = Callable[[Scenario], None]


def pod(name: str = "", **more: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "main", "image": "none"}], **more.pop("spec", {})}
    return {"metadata": {"name": name, **more}, "spec": spec}


async def take(changes: Any, count: int) -> list[Change]:
    async with asyncio.timeout(10):
        return [await anext(changes) for _ in range(count)]


def refused(status: int, reason: str) -> Any:
    return pytest.raises(ApiError, check=lambda error: (error.status, error.reason) == (status, reason))


class TestObjects:
    def test_a_new_object_gets_its_identity(self, run: Run) -> None:
        async def scenario(api: Api, namespace: str) -> None:
            made = await api.create(PODS, pod("a", uid="forged", generation=9), namespace)
            assert made == await api.get(PODS, "a", namespace)
            meta = made["metadata"]
            assert (made["kind"], made["apiVersion"]) == ("Pod", "v1")
            assert meta["namespace"] == namespace
            assert meta["uid"] not in ("", "forged")
            assert meta["creationTimestamp"].endswith("Z")
            assert made["status"]["phase"] == "Pending"

        run(scenario)

    def test_a_dry_run_makes_nothing(self, run: Run) -> None:
        async def scenario(api: Api, namespace: str) -> None:
            made = await api.create(PODS, pod("web"), namespace, dry_run=True)
            assert made["metadata"]["name"] == "web"
            with refused(404, "NotFound"):
                await api.get(PODS, "web", namespace)
            await api.create(PODS, pod("web"), namespace)
            with refused(409, "AlreadyExists"):
                await api.create(PODS, pod("web"), namespace, dry_run=True)

        run(scenario)

    def test_generate_name(self, run: Run) -> None:
        async def scenario(api: Api, namespace: str) -> None:
            first = await api.create(PODS, pod(generateName="web-"), namespace)
            second = await api.create(PODS, pod(generateName="web-"), namespace)
            names = {first["metadata"]["name"], second["metadata"]["name"]}
            assert len(names) == 2
            assert all(name.startswith("web-") and len(name) == 9 for name in names)

        run(scenario)

    def test_refusals(self, run: Run) -> None:
        async def scenario(api: Api, namespace: str) -> None:
            await api.create(PODS, pod("a"), namespace)
            with refused(409, "AlreadyExists"):
                await api.create(PODS, pod("a"), namespace)
            with refused(404, "NotFound"):
                await api.get(PODS, "b", namespace)
            with refused(404, "NotFound"):
                await api.create(PODS, pod("a"), "nowhere")
            with refused(404, "NotFound"):
                await api.delete(PODS, "b", namespace)
            with refused(422, "Invalid"):
                await api.create(PODS, pod("Upper_Case"), namespace)
            with refused(400, "BadRequest"):
                await api.create(PODS, {**pod("b"), "kind": "Service"}, namespace)

        run(scenario)

    def test_labels_that_are_no_strings(self, run: Run) -> None:
        async def scenario(api: Api, namespace: str) -> None:
            with pytest.raises(ApiError) as caught:
                await api.create(PODS, pod("a", labels={"version": 1}), namespace)
            assert caught.value.status in (400, 422)

        run(scenario)

    def test_what_is_given_and_got_is_not_shared(self, run: Run) -> None:
        async def scenario(api: Api, namespace: str) -> None:
            given = pod("a", labels={"app": "web"})
            made = await api.create(PODS, given, namespace)
            given["metadata"]["labels"]["app"] = made["metadata"]["labels"]["app"] = "changed"
            listed = (await api.list(PODS, namespace)).items[0]
            listed["metadata"]["labels"]["app"] = "changed"
            assert (await api.get(PODS, "a", namespace))["metadata"]["labels"] == {"app": "web"}

        run(scenario)

    @pytest.mark.parametrize(
        ("selector", "names"),
        [
            ("", "abc"),
            ("app=web", "ab"),
            ("app==web,tier!=db", "a"),
            ("tier!=db", "ac"),
            ("tier in (db, cache)", "bc"),
            ("tier notin (db)", "ac"),
            ("app", "ab"),
            ("!app", "c"),
            ("app in (web),tier in (db)", "b"),
        ],
    )
    def test_label_selectors(self, run: Run, selector: str, names: str) -> None:
        async def scenario(api: Api, namespace: str) -> None:
            for name, labels in {
                "a": {"app": "web"},
                "b": {"app": "web", "tier": "db"},
                "c": {"tier": "cache"},
            }.items():
                await api.create(PODS, pod(name, labels=labels), namespace)
            found = (await api.list(PODS, namespace, selector)).items
            assert "".join(item["metadata"]["name"] for item in found) == names

        run(scenario)

    def test_a_bad_selector(self, run: Run) -> None:
        async def scenario(api: Api, namespace: str) -> None:
            with refused(400, "BadRequest"):
                await api.list(PODS, namespace, "app web")

        run(scenario)


class TestBindings:
    def test_a_pod_is_bound_once(self, run: Run) -> None:
        async def scenario(api: Api, namespace: str) -> None:
            await api.create(PODS, pod("a"), namespace)
            binding = {"metadata": {"name": "a"}, "target": {"apiVersion": "v1", "kind": "Node", "name": "n"}}
            await api.create(BINDINGS, binding, namespace)
            assert (await api.get(PODS, "a", namespace))["spec"]["nodeName"] == "n"
            with refused(409, "Conflict"):
                await api.create(BINDINGS, binding, namespace)
            with refused(404, "NotFound"):
                await api.create(BINDINGS, {**binding, "metadata": {"name": "b"}}, namespace)

        run(scenario)


class TestUpdates:
    def test_generation_counts_the_spec_alone(self, run: Run) -> None:
        async def scenario(api: Api, _: str) -> None:
            made = await api.create(TRAFFICPROFILES, {"metadata": {"name": "p"}, "spec": {"a": 1}, "status": {"x": 1}})
            assert made["metadata"]["generation"] == 1
            assert "status" not in made
            changed = await api.patch(TRAFFICPROFILES, "p", {"spec": {"a": 2}, "status": {"x": 1}})
            assert changed["metadata"]["generation"] == 2
            assert "status" not in changed
            labelled = await api.patch(TRAFFICPROFILES, "p", {"metadata": {"labels": {"k": "v"}}})
            assert labelled["metadata"]["generation"] == 2
            judged = await api.patch(TRAFFICPROFILES, "p", {"spec": {"a": 3}, "status": {"x": 2}}, subresource="status")
            assert (judged["spec"], judged["status"], judged["metadata"]["generation"]) == ({"a": 2}, {"x": 2}, 2)

        run(scenario)

    def test_an_update_that_changes_nothing_is_no_change(self, run: Run) -> None:
        async def scenario(api: Api, _: str) -> None:
            made = await api.create(TRAFFICPROFILES, {"metadata": {"name": "p"}, "spec": {"a": 1}})
            assert await api.patch(TRAFFICPROFILES, "p", {"spec": {"a": 1}}) == made

        run(scenario)

    def test_merge_patch_removes_and_replaces(self, run: Run) -> None:
        async def scenario(api: Api, _: str) -> None:
            await api.create(TRAFFICPROFILES, {"metadata": {"name": "p"}, "spec": {"a": {"b": 1, "c": 2}, "d": [1, 2]}})
            patched = await api.patch(TRAFFICPROFILES, "p", {"spec": {"a": {"b": None, "e": {"f": None}}, "d": [3]}})
            assert patched["spec"] == {"a": {"c": 2, "e": {}}, "d": [3]}

        run(scenario)

    def test_apply_makes_and_changes_and_leaves_the_rest(self, run: Run) -> None:
        async def scenario(api: Api, namespace: str) -> None:
            ports = [{"name": "a", "port": 80, "protocol": "TCP"}]
            obj = {"metadata": {"name": "s", "labels": {"k": "v"}}, "spec": {"ports": ports, "selector": {"app": "x"}}}
            made = await api.apply(SERVICES, obj, namespace)
            await api.patch(SERVICES, "s", {"metadata": {"annotations": {"of": "others"}}}, namespace)
            less = {"metadata": {"name": "s"}, "spec": {"ports": ports, "selector": {"app": "y"}}}
            changed = await api.apply(SERVICES, less, namespace)
            assert changed["metadata"]["uid"] == made["metadata"]["uid"]
            assert changed["metadata"]["annotations"]["of"] == "others"
            assert changed["spec"]["selector"] == {"app": "y"}
            with refused(400, "BadRequest"):
                await api.apply(SERVICES, {**less, "metadata": {"name": "s", "namespace": "elsewhere"}}, namespace)

        run(scenario)

    def test_replace_conflicts(self, run: Run) -> None:
        async def scenario(api: Api, _: str) -> None:
            old = await api.create(TRAFFICPROFILES, {"metadata": {"name": "p"}, "spec": {"a": 1}})
            new = await api.replace(TRAFFICPROFILES, {**old, "spec": {"a": 2}})
            assert new["spec"] == {"a": 2}
            with refused(409, "Conflict"):
                await api.replace(TRAFFICPROFILES, {**old, "spec": {"a": 3}})
            stale = {"metadata": {"resourceVersion": old["metadata"]["resourceVersion"]}, "spec": {"a": 3}}
            with refused(409, "Conflict"):
                await api.patch(TRAFFICPROFILES, "p", stale)
            with refused(404, "NotFound"):
                await api.replace(TRAFFICPROFILES, {"metadata": {"name": "q"}, "spec": {}})

        run(scenario)

    def test_replacing_the_status_alone(self, run: Run) -> None:
        async def scenario(api: Api, _: str) -> None:
            old = await api.create(TRAFFICPROFILES, {"metadata": {"name": "p"}, "spec": {"a": 1}})
            new = await api.replace(TRAFFICPROFILES, {**old, "spec": {"a": 2}, "status": {"x": 1}}, "status")
            assert (new["spec"], new["status"]) == ({"a": 1}, {"x": 1})

        run(scenario)


class TestDeletion:
    def test_finalizers_hold(self, run: Run) -> None:
        async def scenario(api: Api, _: str) -> None:
            await api.create(TRAFFICPROFILES, {"metadata": {"name": "p", "finalizers": ["a.b/c"]}, "spec": {}})
            await api.delete(TRAFFICPROFILES, "p")
            held = await api.get(TRAFFICPROFILES, "p")
            assert held["metadata"]["deletionTimestamp"].endswith("Z")
            with refused(422, "Invalid"):
                await api.patch(TRAFFICPROFILES, "p", {"metadata": {"finalizers": ["a.b/c", "a.b/d"]}})
            await api.patch(TRAFFICPROFILES, "p", {"metadata": {"finalizers": None}})
            with refused(404, "NotFound"):
                await api.get(TRAFFICPROFILES, "p")

        run(scenario)

    def test_a_pod_without_a_node_goes_at_once(self, run: Run) -> None:
        async def scenario(api: Api, namespace: str) -> None:
            await api.create(PODS, pod("a"), namespace)
            await api.delete(PODS, "a", namespace)
            assert (await api.list(PODS, namespace)).items == []

        run(scenario)

    def test_a_pod_on_a_node_waits_for_its_kubelet(self, run: Run) -> None:
        async def scenario(api: Api, namespace: str) -> None:
            await api.create(PODS, pod("a", spec={"nodeName": "n", "terminationGracePeriodSeconds": 7}), namespace)
            await api.delete(PODS, "a", namespace)
            marked = (await api.get(PODS, "a", namespace))["metadata"]
            assert marked["deletionGracePeriodSeconds"] == 7
            await api.delete(PODS, "a", namespace, grace=2)
            assert (await api.get(PODS, "a", namespace))["metadata"]["deletionGracePeriodSeconds"] == 2
            await api.delete(PODS, "a", namespace, grace=0)
            with refused(404, "NotFound"):
                await api.get(PODS, "a", namespace)

        run(scenario)


class TestWatches:
    def test_from_a_listing_on(self, run: Run) -> None:
        async def scenario(api: Api, namespace: str) -> None:
            await api.create(PODS, pod("before"), namespace)
            listing = await api.list(PODS, namespace)
            changes = api.watch(PODS, listing.resource_version, namespace)
            await api.create(PODS, pod("a"), namespace)
            await api.patch(PODS, "a", {"metadata": {"labels": {"k": "v"}}}, namespace)
            await api.delete(PODS, "a", namespace)
            seen = await take(changes, 3)
            while seen[-1].type != "DELETED":  # a server may tell of the mark before the end
                seen += await take(changes, 1)
            types = [change.type for change in seen]
            assert (types[0], {*types[1:-1]}, types[-1]) == ("ADDED", {"MODIFIED"}, "DELETED")
            assert {change.object["metadata"]["name"] for change in seen} == {"a"}
            assert seen[1].object["metadata"]["labels"] == {"k": "v"}

        run(scenario)

    def test_resume(self, run: Run) -> None:
        async def scenario(api: Api, namespace: str) -> None:
            first = await api.create(PODS, pod("a"), namespace)
            await api.create(PODS, pod("b"), namespace)
            changes = api.watch(PODS, first["metadata"]["resourceVersion"], namespace)
            assert (await take(changes, 1))[0].object["metadata"]["name"] == "b"

        run(scenario)

    def test_one_namespace_alone(self, run: Run) -> None:
        async def scenario(api: Api, namespace: str) -> None:
            listing = await api.list(PODS)
            changes = api.watch(PODS, listing.resource_version, namespace)
            await api.create(NAMESPACES, {"metadata": {"name": f"{namespace}-other"}})
            await api.create(PODS, pod("a"), f"{namespace}-other")
            await api.create(PODS, pod("b"), namespace)
            assert (await take(changes, 1))[0].object["metadata"]["name"] == "b"

        run(scenario)

    def test_waiting_for_a_change(self, run: Run) -> None:
        async def scenario(api: Api, namespace: str) -> None:
            listing = await api.list(PODS, namespace)
            waiting = asyncio.ensure_future(anext(api.watch(PODS, listing.resource_version, namespace)))
            await asyncio.sleep(0)
            await api.create(PODS, pod("a"), namespace)
            assert (await asyncio.wait_for(waiting, 10)).type == "ADDED"

        run(scenario)


async def gone(api: Api, kind: Kind, name: str, namespace: str | None = None) -> None:
    """Wait until an object is gone; a cascade may take its time."""
    async with asyncio.timeout(30):
        while True:
            listed = (await api.list(kind, namespace)).items
            if all(item["metadata"]["name"] != name for item in listed):
                return
            await asyncio.sleep(0.01)


class TestCascades:
    """What a controller manager does on a real cluster."""

    def test_dependents_go_with_their_owner(self, run: Run) -> None:
        async def scenario(api: Api, namespace: str) -> None:
            owners = [await api.create(PODS, pod(name), namespace) for name in ("a", "b")]
            refs = [
                {"apiVersion": "v1", "kind": "Pod", "name": o["metadata"]["name"], "uid": o["metadata"]["uid"]}
                for o in owners
            ]
            await api.create(PODS, pod("one", ownerReferences=refs[:1]), namespace)
            await api.create(PODS, pod("both", ownerReferences=refs), namespace)
            await api.delete(PODS, "a", namespace)
            await gone(api, PODS, "one", namespace)
            assert await api.get(PODS, "both", namespace)
            await api.delete(PODS, "b", namespace)
            await gone(api, PODS, "both", namespace)
            await api.create(PODS, pod("late", ownerReferences=refs), namespace)
            await gone(api, PODS, "late", namespace)

        run(scenario)

    def test_a_namespace_takes_its_objects_along(self, run: Run) -> None:
        async def scenario(api: Api, namespace: str) -> None:
            place = f"{namespace}-short"
            made = await api.create(NAMESPACES, {"metadata": {"name": place}})
            assert made["metadata"]["labels"]["kubernetes.io/metadata.name"] == place
            await api.create(PODS, pod("a", spec={"nodeName": "n"}), place)
            await api.create(PODS, pod("b"), place)
            await api.delete(NAMESPACES, place)
            assert (await api.get(NAMESPACES, place))["status"]["phase"] == "Terminating"
            with refused(403, "Forbidden"):
                await api.create(PODS, pod("c"), place)
            await gone(api, PODS, "b", place)
            await api.delete(PODS, "a", place, grace=0)
            await gone(api, NAMESPACES, place)

        run(scenario)
