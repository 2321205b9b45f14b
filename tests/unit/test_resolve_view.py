"""A controller that may not see or touch all of a cluster: what it refuses, by name, and what it does all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import clusters as c
import pytest

from pytest_k8s_netem.profile.trafficprofile import (
    LabelSelector,
    Operator,
    Requirement,
    Rule,
    Selection,
    TrafficProfile,
)
from pytest_k8s_netem.resolve.affected import affected
from pytest_k8s_netem.resolve.beyond import beyond
from pytest_k8s_netem.resolve.index import Index
from pytest_k8s_netem.resolve.resolve import resolve
from pytest_k8s_netem.resolve.select import HOST_NETWORK, left_out, pods_of, selected
from pytest_k8s_netem.resolve.view import View

READ = "list and watch of {} in namespace shop"
WEB, DB = c.pod("web", 1, namespace="shop", app="web"), c.pod("db", 2, namespace="shop", app="db")
OTHER, SYSTEM = c.pod("other", 3, namespace="prod", app="web"), c.pod("dns", 4, namespace="kube-system", app="web")
SHOP = replace(c.labelled(app="web"), names=("shop",))


def said(profile: TrafficProfile, view: View, *pods: dict[str, Any], **tables: Any) -> tuple[str, ...]:
    world = c.world(*(pods or (WEB, DB, OTHER, SYSTEM)), profiles=(profile,))
    world.view = view
    for name, table in tables.items():
        getattr(world, name).update(table)
    return beyond(Index(world), profile)


def egress(*peers: Selection, pods: Selection = SHOP) -> TrafficProfile:
    return TrafficProfile("p", pods=pods, egress=c.side(Rule(peers=peers or None)))


@pytest.mark.parametrize(
    ("allowed", "made", "pods", "refused"),
    [
        (None, (), c.ALL, ()),
        (("shop",), (), SHOP, ()),
        ((), ("shop",), SHOP, ()),
        ((), (), SHOP, ("shop",)),
        (("shop",), (), c.labelled(app="web"), ("kube-system", "prod")),
        (("*",), (), c.labelled(app="web"), ("kube-system",)),
        (("*", "kube-system"), (), c.labelled(app="web"), ()),
        (("*",), (), replace(c.ALL, names=("kube-system",)), ("kube-system",)),
        ((), (), replace(c.ALL, names=("empty",)), ("empty",)),
    ],
)
def test_namespaces_that_the_run_did_not_make_are_to_be_allowed(
    allowed: tuple[str, ...] | None, made: tuple[str, ...], pods: Selection, refused: tuple[str, ...]
) -> None:
    view = View(allowed=None if allowed is None else frozenset(allowed), made=frozenset(made))
    texts = said(egress(pods=pods), view)
    assert [text.rpartition("=")[2] for text in texts] == list(refused)
    assert all("--netem-allow-namespaces=" in text for text in texts)


def test_a_pod_of_a_foreign_namespace_that_comes_later_is_left_out() -> None:
    profile = egress(pods=c.labelled(app="web"))
    world = c.world(WEB, OTHER, profiles=(profile,))
    world.view = View(allowed=frozenset({"shop"}))
    index = Index(world)
    assert selected(index, "p") == {"shop/web"}
    assert "--netem-allow-namespaces=prod" in left_out(index, profile.pods)["prod/other"]


@pytest.mark.parametrize(
    ("peer", "table", "right"),
    [
        (c.ref("svc", "db"), "services", READ.format("services")),
        (c.ref("node", "node-1"), "nodes", "list and watch of nodes"),
        (
            Selection((LabelSelector(),), namespaces=LabelSelector((Requirement("env", Operator.IN, ("test",)),))),
            "namespaces",
            "list and watch of namespaces",
        ),
        (replace(c.labelled(app="db"), exceptions=(c.ref("svc", "db"),)), "services", READ.format("services")),
    ],
)
def test_what_cannot_be_looked_up_names_the_right(peer: Selection, table: str, right: str) -> None:
    assert said(egress(peer), View()) == ()
    [text] = said(egress(peer), View(lacking={table: right}))
    assert text.endswith(f"that needs {right}")


def test_a_namespace_that_is_not_seen_is_no_empty_one() -> None:
    view = View(namespaces=frozenset({"shop"}))
    [text] = said(egress(replace(c.ALL, names=("prod",))), view)
    assert text.endswith("list and watch of pods in namespace prod")
    assert said(egress(replace(c.ALL, names=("shop",))), view) == ()


@pytest.mark.parametrize(
    ("level", "injects", "refused"),
    [("baseline", True, 1), ("restricted", True, 1), ("privileged", True, 0), ("baseline", False, 0)],
)
def test_pod_security_keeps_agents_out(level: str, injects: bool, refused: int) -> None:
    label = "pod-security.kubernetes.io/enforce"
    texts = said(egress(), View(injects=injects), namespaces={"shop": {"metadata": {"labels": {label: level}}}})
    assert len(texts) == refused
    assert all("pod/web " in text and f"{label}={level}" in text for text in texts)


OPTED_IN = {"metadata": {"labels": {"inject": "yes"}}}
STRICT = {"metadata": {"labels": {"inject": "yes", "pod-security.kubernetes.io/enforce": "restricted"}}}


def opted(*pods: dict[str, Any], **namespaces: Any) -> Index:
    """A world in which namespaces opt in by a label, and a profile of every pod."""
    world = c.world(*pods, profiles=(egress(pods=c.ALL),))
    world.view = View(injects=True, opted_in={"inject": "yes"}, system=frozenset({"kube-system", "ours"}))
    world.namespaces.update(namespaces)
    return Index(world)


def test_pods_are_left_alone_where_nobody_has_opted_in() -> None:
    index = opted(WEB, OTHER, SYSTEM, shop=OPTED_IN, **{"kube-system": OPTED_IN})
    assert selected(index, "p") == {"shop/web"}
    assert beyond(index, index.world.profiles["p"]) == ()
    assert left_out(index, c.ALL) == {"prod/other": "namespace prod is not enabled: netem namespace enable prod"}
    assert selected(opted(WEB), "p") == frozenset()


def test_the_systems_pods_are_told_of_only_to_who_names_them() -> None:
    ours = c.pod("controller", 5, namespace="ours")
    index = opted(WEB, ours, ours=OPTED_IN)
    assert "ours/controller" not in left_out(index, c.ALL)
    named = left_out(index, replace(c.ALL, names=("ours",)))
    assert named == {"ours/controller": "namespace ours is never touched"}


def test_pod_security_counts_where_somebody_has_opted_in() -> None:
    [text] = beyond(index := opted(WEB, shop=STRICT), index.world.profiles["p"])
    assert "pod-security.kubernetes.io/enforce=restricted" in text
    strict = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    index = opted(WEB, OTHER, shop=OPTED_IN, prod=strict)
    assert beyond(index, index.world.profiles["p"]) == ()


def test_opting_in_is_a_change_for_the_pods_there() -> None:
    before, after = opted(WEB, OTHER, shop=OPTED_IN), opted(WEB, OTHER, shop=OPTED_IN, prod=OPTED_IN)
    assert "prod/other" in affected(before, after)
    assert "prod/other" in affected(after, before)


def test_a_deployment_is_known_without_its_replicaset_by_the_name_it_gives() -> None:
    meta = {**WEB["metadata"], "labels": {"pod-template-hash": "5d4f8"}}
    meta["ownerReferences"] = [{"kind": "ReplicaSet", "name": "web-5d4f8", "uid": "u", "controller": True}]
    world = c.world({**WEB, "metadata": meta}, DB)
    assert pods_of(Index(world), c.ref("deploy", "web")) == frozenset()
    world.view = View(lacking={"replicasets": READ.format("replicasets")})
    assert pods_of(Index(world), c.ref("deploy", "web")) == {"shop/web"}


def test_cluster_ips_that_cannot_be_known_are_told() -> None:
    for peer, told in ((c.labelled(app="db"), True), (c.cidr(10, 0, 0, 0, 8), False)):
        world = c.world(WEB, DB, profiles=(egress(peer),))
        world.view = View(lacking={"services": READ.format("services")})
        notes = resolve("shop/web", world).notes.get("p", ())
        assert any(READ.format("services") in note for note in notes) is told


@pytest.mark.parametrize(
    ("spec", "labels", "why"),
    [
        ({"hostNetwork": True}, {}, HOST_NETWORK),
        ({"os": {"name": "windows"}}, {}, "spec.os.name: windows"),
        ({"nodeSelector": {"kubernetes.io/os": "windows"}}, {}, "kubernetes.io/os=windows"),
        ({}, {"kubernetes.io/os": "windows"}, "kubernetes.io/os=windows"),
        ({"os": {"name": "linux"}}, {"kubernetes.io/os": "linux"}, ""),
    ],
)
def test_what_can_never_be_impaired_says_why(spec: dict[str, Any], labels: dict[str, str], why: str) -> None:
    profile = egress(pods=c.ALL)
    world = c.world({**WEB, "spec": {**WEB["spec"], **spec}}, DB, profiles=(profile,))
    world.nodes["node-1"] = {**world.nodes["node-1"], "metadata": {"labels": labels}}
    index = Index(world)
    wanted = {"shop/db"} if why else {"shop/web", "shop/db"}
    assert selected(index, "p") == wanted - ({"shop/db"} if labels.get("kubernetes.io/os") == "windows" else set())
    assert why in left_out(index, profile.pods).get("shop/web", "")


def test_the_systems_own_pods_are_not_meant_by_a_wildcard() -> None:
    dns = {**SYSTEM, "spec": {**SYSTEM["spec"], "hostNetwork": True}}
    index = Index(c.world(WEB, dns))
    assert left_out(index, c.ALL) == {}
    assert set(left_out(index, replace(c.ALL, names=("kube-system",)))) == {"kube-system/dns"}
