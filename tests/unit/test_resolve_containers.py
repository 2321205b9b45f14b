"""Attached containers among pods: who takes them, what is spared, whom a probe is sent to."""

from __future__ import annotations

import json
from typing import Any

import clusters as c
import pytest

from pytest_k8s_netem.controller import nothing
from pytest_k8s_netem.model.capabilities import Interface
from pytest_k8s_netem.profile.arguments import profile_of
from pytest_k8s_netem.profile.trafficprofile import LabelSelector, Selection, TrafficProfile
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.index import Index
from pytest_k8s_netem.resolve.resolve import resolve
from pytest_k8s_netem.resolve.select import pods_of
from pytest_k8s_netem.resolve.world import TargetFacts, World

GATEWAY = "172.18.0.1"


def container(name: str, /, gateway: str = "", **networks: str) -> dict[str, Any]:
    """Addresses by network, in the order of Docker."""
    addresses = list(networks.values()) or [f"172.18.0.{len(name)}"]
    hosts = {"hostIP": gateway, "hostIPs": [{"ip": gateway}]} if gateway else {}
    annotated = json.dumps({network: [address] for network, address in networks.items()} or {"net": addresses})
    labels = {objects.CONTAINER_LABEL: name, "app": name}
    return {
        "metadata": {
            "name": name,
            "namespace": objects.CONTAINERS,
            "uid": f"uid-{name}",
            "labels": labels,
            "annotations": {objects.NETWORKS: annotated},
        },
        "spec": {"nodeName": "docker", "containers": [{"name": name}]},
        "status": {"phase": "Running", "podIP": addresses[0], "podIPs": [{"ip": a} for a in addresses], **hosts},
    }


def world(*pods: dict[str, Any], profiles: tuple[TrafficProfile, ...] = ()) -> World:
    """Each container's default route is on its first network."""
    made = c.world(*pods, profiles=profiles)
    made.apiserver = ()
    for key, pod in made.pods.items():
        if objects.attached(pod):
            first, *others = [entry["ip"] for entry in pod["status"]["podIPs"]]
            eth0 = Interface("eth0", 2, 1500, "02:00:00:00:00:01", True, True, (first,))
            eth1 = [Interface("eth1", 3, 1500, "02:00:00:00:00:02", True, False, tuple(others))] if others else []
            made.targets[key] = TargetFacts(c.FACTS.capabilities, (c.LO, eth0, *eth1))
    return made


def marker(**arguments: Any) -> TrafficProfile:
    return profile_of(arguments, name="p", namespace="default")


REDIS, DB = container("redis"), container("db-1", net="172.18.0.4")
WEB, OTHER = c.pod("web", 1, app="web"), c.pod("redis", 2, app="redis")


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ({}, {"default/web", "default/redis", "container/redis", "container/db-1"}),
        ({"pods": "container/redis"}, {"container/redis"}),
        ({"pods": "pod/redis"}, {"default/redis"}),
        ({"pods": "pod/redis", "namespaces": "*"}, {"default/redis"}),
        ({"pods": "app=redis"}, {"default/redis", "container/redis"}),
        ({"pods": "container/redis", "namespaces": "elsewhere"}, {"container/redis"}),
        ({"pods": ["pod/web", "container/db-1"]}, {"default/web", "container/db-1"}),
        ({"pods": "container/none"}, set()),
    ],
)
def test_who_is_taken(said: dict[str, Any], taken: set[str]) -> None:
    selection = marker(delay="1ms", **said).pods
    assert pods_of(Index(world(WEB, OTHER, REDIS, DB)), selection) == taken


def test_labels_of_namespaces_take_no_container() -> None:
    anywhere = Selection(selectors=(LabelSelector(),), namespaces=c.labelled(team="a").selectors[0])
    known = world(WEB, REDIS)
    known.namespaces["default"] = {"metadata": {"labels": {"team": "a"}}}
    assert pods_of(Index(known), anywhere) == {"default/web"}


def test_an_exception_takes_a_container_away() -> None:
    profile = marker(delay="1ms", to="0.0.0.0/0", except_="container/redis")
    found = resolve("default/web", world(WEB, REDIS, profiles=(profile,)))
    assert not any(match.remote and match.remote & objects.pod_addresses(REDIS) for match in taken(found))


def taken(found: Any) -> list[Any]:
    return [match for entry in found.plan.classes if entry.stages for match in entry.matches]


def test_nothing_of_its_machine_is_spared() -> None:
    known = world(container("redis", GATEWAY), profiles=(marker(delay="1ms"),))
    found = resolve("container/redis", known)
    assert found.spared == {}
    assert [entry.stages for entry in found.plan.classes] == [("p/egress",)]


def test_its_machine_is_probed_where_it_answers_and_there_is_nobody_else() -> None:
    profiles = (marker(delay="1ms"),)
    [alone] = resolve("container/redis", world(container("redis"), profiles=profiles)).plan.checks
    [answered] = resolve("container/redis", world(container("redis", GATEWAY), profiles=profiles)).plan.checks
    assert alone.kind == "read-back"
    assert (answered.kind, answered.address) == ("icmp", GATEWAY)


def test_pods_and_containers_do_not_probe_each_other_unless_the_rule_says_so() -> None:
    [unasked] = resolve("default/web", world(WEB, REDIS, profiles=(marker(delay="1ms"),))).plan.checks
    assert unasked.address != "172.18.0.5"
    asked = marker(delay="1ms", pods="pod/web", to="container/redis")
    [check] = resolve("default/web", world(WEB, REDIS, profiles=(asked,))).plan.checks
    assert check.address == "172.18.0.5"


def test_a_probe_stays_on_a_network_that_both_are_on() -> None:
    """By the default route's interface, on which the profile is; other networks are out of its reach."""
    front_only, back_only = container("client", front="172.18.0.3"), container("store", back="172.19.0.3")
    web = container("web-1", front="172.18.0.2", back="172.19.0.2")
    known = world(front_only, back_only, web, profiles=(marker(delay="1ms", pods="container/web-1"),))
    [check] = resolve("container/web-1", known).plan.checks
    assert check.address == "172.18.0.3"
    [check] = resolve("container/web-1", world(back_only, web, profiles=tuple(known.profiles.values()))).plan.checks
    assert check.kind == "read-back"


def test_both_ends_on_two_networks_meet_on_the_right_one() -> None:
    a = container("a-one", front="172.18.0.9", back="172.17.0.2")
    b = container("b-two", back="172.17.0.3", front="172.18.0.8")
    [check] = resolve(
        "container/a-one", world(a, b, profiles=(marker(delay="1ms", pods="container/a-one"),))
    ).plan.checks
    assert check.address == "172.18.0.8"


def test_a_container_that_nobody_attached_is_named_with_what_is() -> None:
    index = Index(world(WEB, REDIS))
    text = nothing.no_pod(marker(delay="1ms", pods="container/postgres"), index)
    assert text.startswith(
        "container/postgres: nobody has attached a container of that name, attached are container/redis"
    )
    assert 'netem.attach(container, as_="postgres")' in text
    text = nothing.no_peer(marker(delay="1ms", to="container/postgres"), Index(world(WEB)), 1)
    assert "nobody has attached a container of that name, none is attached" in text


def test_what_is_there_is_told_with_containers() -> None:
    text = nothing.no_pod(marker(delay="1ms", pods="app=none"), Index(world(WEB, REDIS)))
    assert text.endswith("there are container/redis (app=redis,k8s-netem.riasc.eu/container=redis), pod/web (app=web)")


def test_a_host_without_an_address_is_no_missing_pod() -> None:
    index = Index(world(WEB))
    text = nothing.no_peer(marker(delay="1ms", to="fqdn:nosuch.example"), index, 1)
    met = "no packet of the selected pods (1) would be met: "
    assert text == f"{met}fqdn:nosuch.example has no address: the name cannot be resolved from here"
    text = nothing.no_peer(marker(delay="1ms", to=["app=none", "fqdn:nosuch.example"]), index, 1)
    assert "pod/web" in text
