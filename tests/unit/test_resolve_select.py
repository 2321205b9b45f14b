"""Which pods a profile selects, whom its peers mean, and which packets its rules take."""

from __future__ import annotations

from dataclasses import replace

import clusters as c
import pytest

from pytest_k8s_netem.model.match import ARP, ICMP, IPV4, IPV6, TCP, UDP, Packet
from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.profile.rules import NAMESPACE_LABEL
from pytest_k8s_netem.profile.trafficprofile import (
    LabelSelector,
    Operator,
    Requirement,
    Rule,
    Selection,
    TrafficProfile,
)
from pytest_k8s_netem.resolve import objects
from pytest_k8s_netem.resolve.index import Index
from pytest_k8s_netem.resolve.resolve import resolve
from pytest_k8s_netem.resolve.rules import taken
from pytest_k8s_netem.resolve.select import HOST_NETWORK, choose, pods_of, selected


def names(keys: frozenset[str]) -> set[str]:
    return {key.partition("/")[2] for key in keys}


def number(text: str) -> int:
    found = objects.address(text)
    assert found
    return found[1]


def owned(pod: dict, kind: str, uid: str, name: str = "", created: str = "") -> dict:
    meta = {**pod["metadata"], "ownerReferences": [{"kind": kind, "uid": uid, "name": name or uid, "controller": True}]}
    return {**pod, "metadata": {**meta, "creationTimestamp": created}}


WEB, DB, CANARY = c.pod("web", 1, app="web"), c.pod("db", 2, app="db"), c.pod("canary", 3, app="web", track="canary")


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        (c.ALL, {"web", "db", "canary"}),
        (Selection(), set()),
        (c.labelled(app="web"), {"web", "canary"}),
        (replace(c.labelled(app="web"), exceptions=(c.labelled(track="canary"),)), {"web"}),
        (c.ref("pod", "db"), {"db"}),
        (c.ref("svc", "front"), {"web", "canary"}),
        (replace(c.ALL, names=("other",)), set()),
        (replace(c.ALL, namespaces=LabelSelector((Requirement(NAMESPACE_LABEL, Operator.IN, ("default",)),))),
         {"web", "db", "canary"}),
        (Selection(selectors=(LabelSelector((Requirement("track", Operator.DOES_NOT_EXIST),)),)), {"web", "db"}),
        (Selection(selectors=(LabelSelector((Requirement("app", Operator.NOT_IN, ("web",)),)),)), {"db"}),
    ],
)  # fmt: skip
def test_selection(selection, wanted):
    world = c.world(WEB, DB, CANARY)
    world.services["default/front"] = c.service("front", "10.96.0.50", app="web")
    assert names(pods_of(Index(world), selection)) == wanted


def test_a_deployment_means_the_pods_of_its_replica_sets():
    world = c.world(owned(WEB, "ReplicaSet", "rs-uid", "web-1"), DB)
    world.replicasets["default/web-1"] = owned(c.pod("x", 9), "Deployment", "deploy-uid", "web")
    assert names(pods_of(Index(world), c.ref("deploy", "web"))) == {"web"}


def test_an_attached_container_is_meant_by_its_label():
    attached = c.pod("netem-redis-1", 4)
    attached["metadata"]["labels"] = {objects.CONTAINER_LABEL: "redis"}
    assert names(pods_of(Index(c.world(WEB, attached)), c.ref("container", "redis"))) == {"netem-redis-1"}


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_finished_pods_are_neither_selected_nor_peers(phase):
    ended = {**DB, "status": {**DB["status"], "phase": phase}}
    profile = TrafficProfile("p", pods=c.ALL, egress=c.side(Rule(peers=(c.labelled(app="db"),))))
    index = Index(c.world(WEB, ended, profiles=(profile,)))
    assert names(selected(index, "p")) == {"web"}
    assert taken(index, "p", Direction.EGRESS) == ()


def test_pods_on_their_nodes_network_are_left_out_with_a_reason():
    host = {**DB, "spec": {**DB["spec"], "hostNetwork": True}}
    profile = TrafficProfile("p", pods=c.ALL, egress=c.side())
    world = c.world(WEB, host, profiles=(profile,))
    assert names(selected(Index(world), "p")) == {"web"}
    assert resolve("default/db", world).excluded == HOST_NETWORK
    assert resolve("default/db", world).plan.empty


@pytest.mark.parametrize(("count", "wanted"), [(1, 1), (2, 2), (99, 10), (0.5, 5), (0.01, 1), (1.0, 10)])
def test_count_draws_so_many_and_the_same_for_the_same_seed(count, wanted):
    pods = [c.pod(f"web-{n}", n) for n in range(1, 11)]
    profile = TrafficProfile("p", pods=c.ALL, count=count, seed=5, egress=c.side())
    chosen = selected(Index(c.world(*pods, profiles=(profile,))), "p")
    assert len(chosen) == wanted
    assert chosen == selected(Index(c.world(*reversed(pods), profiles=(profile,))), "p")


def test_another_seed_draws_others():
    pods = [c.pod(f"web-{n}", n) for n in range(1, 11)]
    profiles = [TrafficProfile("p", pods=c.ALL, count=3, seed=seed, egress=c.side()) for seed in range(8)]
    assert len({selected(Index(c.world(*pods, profiles=(one,))), "p") for one in profiles}) > 1


def test_follow_start_keeps_the_pods_chosen_and_whoever_replaces_them():
    pods = [
        owned(c.pod(f"web-{n}", n, app="web"), "Deployment", "D", created="2026-01-01T00:00:00Z") for n in (1, 2, 3)
    ]
    profile = TrafficProfile("p", uid="P", pods=c.labelled(app="web"), count=1, seed=1, follow="start", egress=c.side())
    before = c.world(*pods, profiles=(profile,))
    before.chosen["P"] = choose(profile, before)
    (first,) = names(selected(Index(before), "p"))

    replacement = owned(c.pod("web-9", 9, app="web"), "Deployment", "D", created="2026-01-01T00:00:09Z")
    left = [pod for pod in pods if pod["metadata"]["name"] != first]
    after = c.world(*left, replacement, profiles=(profile,))
    after.chosen = before.chosen
    assert names(selected(Index(after), "p")) == {"web-9"}

    scaled_up = c.world(*pods, replacement, profiles=(profile,))
    scaled_up.chosen = before.chosen
    assert names(selected(Index(scaled_up), "p")) == {first}


def egress(world, rule: Rule, **profile):
    world.profiles = {"p": TrafficProfile("p", pods=c.ALL, egress=c.side(rule), **profile)}
    return taken(Index(world), "p", Direction.EGRESS)


def takes(matches, remote: str, protocol: int = TCP, remote_port: int | None = 40000, local_port: int | None = 40001):
    ether_type = IPV6 if ":" in remote else IPV4
    ports = (None, None) if protocol == ICMP else (remote_port, local_port)
    packet = Packet(ether_type, protocol, number(remote), *ports)
    return any(match.takes(packet) for match in matches)


def test_a_rule_that_says_nothing_takes_all_ip_packets_and_no_arp():
    matches = egress(c.world(WEB), Rule())
    assert takes(matches, "8.8.8.8", UDP)
    assert takes(matches, "2001:db8::1")
    assert not any(match.takes(Packet(ARP)) for match in matches)


def test_an_empty_peer_takes_nothing_and_still_restricts_its_rule():
    assert egress(c.world(WEB), Rule(peers=(Selection(),))) == ()
    assert egress(c.world(WEB), Rule(peers=())) == ()


def test_fields_of_a_rule_are_anded_and_rules_are_ored():
    world = c.world(WEB, DB)
    world.profiles = {"p": TrafficProfile("p", egress=c.side(
        Rule(ether_types=Ranges.of(IPV4), peers=(c.labelled(app="db"),), ports=(c.tcp(80, at="remote"),)),
        Rule(protocols=Ranges.of(ICMP)),
    ))}  # fmt: skip
    matches = taken(Index(world), "p", Direction.EGRESS)
    assert takes(matches, "10.0.0.2", TCP, 80)
    assert not takes(matches, "10.0.0.2", UDP, 80)
    assert not takes(matches, "10.0.0.2", TCP, 81)
    assert not takes(matches, "10.0.0.1", TCP, 80)
    assert not takes(matches, "fd00::2", TCP, 80)
    assert takes(matches, "10.0.0.1", ICMP)


@pytest.mark.parametrize(
    ("at", "remote", "local"), [("either", True, True), ("remote", True, False), ("local", False, True)]
)
def test_ports_mean_either_end_of_the_conversation_or_just_one(at, remote, local):
    matches = egress(c.world(WEB), Rule(ports=(c.tcp(80, at=at),)))
    assert takes(matches, "10.0.0.2", TCP, 80, 40000) is remote
    assert takes(matches, "10.0.0.2", TCP, 40000, 80) is local


def test_peers_are_dual_stack():
    matches = egress(c.world(WEB, DB), Rule(peers=(c.labelled(app="db"),)))
    assert takes(matches, "10.0.0.2")
    assert takes(matches, "fd00::2")
    assert not takes(matches, "10.0.0.1")


def test_a_selector_peer_includes_cluster_ips_with_ports_mapped():
    world = c.world(WEB, DB)
    world.services["default/db"] = c.service("db", "10.96.0.50", {"port": 80, "targetPort": 5432}, app="db")
    world.services["default/headless"] = c.service("headless", "None", {"port": 81, "targetPort": 5432}, app="db")
    matches = egress(world, Rule(peers=(c.labelled(app="db"),), ports=(c.tcp(5432),)))
    assert takes(matches, "10.96.0.50", TCP, 80)
    assert takes(matches, "10.0.0.2", TCP, 5432)
    assert not takes(matches, "10.96.0.50", TCP, 5432), "not a product"
    assert not takes(matches, "10.0.0.2", TCP, 80), "not a product"
    assert takes(egress(world, Rule(peers=(c.labelled(app="db"),))), "10.96.0.50", TCP, 12345)


def test_a_service_peer_is_its_address_and_port_and_its_endpoints_and_target_ports():
    world = c.world(WEB, DB)
    world.services["default/db"] = c.service("db", "10.96.0.50", {"port": 80, "targetPort": "pg"}, app="db")
    world.pods["default/db"]["spec"]["containers"] = [{"ports": [{"name": "pg", "containerPort": 5432}]}]
    matches = egress(world, Rule(peers=(c.ref("svc", "db"),)))
    assert takes(matches, "10.96.0.50", TCP, 80)
    assert takes(matches, "10.0.0.2", TCP, 5432)
    assert not takes(matches, "10.96.0.50", TCP, 5432)
    assert not takes(matches, "10.0.0.2", TCP, 80)
    assert not takes(matches, "10.0.0.2", ICMP)
    asked = egress(world, Rule(peers=(c.ref("svc", "db"),), ports=(c.tcp(80),)))
    assert takes(asked, "10.0.0.2", TCP, 5432), "the port asked is the Service's own"


def test_named_ports_are_the_peers_own():
    one, two = c.pod("db-1", 4, app="db"), c.pod("db-2", 5, app="db")
    one["spec"]["containers"] = [{"ports": [{"name": "pg", "containerPort": 5432}]}]
    two["spec"]["containers"] = [{"ports": [{"name": "pg", "containerPort": 6432}]}]
    matches = egress(
        c.world(WEB, one, two), Rule(peers=(c.labelled(app="db"),), ports=(c.tcp(name="pg", at="remote"),))
    )
    assert takes(matches, "10.0.0.4", TCP, 5432)
    assert takes(matches, "10.0.0.5", TCP, 6432)
    assert not takes(matches, "10.0.0.5", TCP, 5432)


def test_a_virtual_address_that_also_stands_for_others_is_told():
    world = c.world(WEB, CANARY)
    world.services["default/web"] = c.service("web", "10.96.0.50", {"port": 80}, app="web")
    world.profiles = {"p": TrafficProfile("p", pods=c.ALL, egress=c.side(Rule(peers=(c.labelled(track="canary"),))))}
    (note,) = resolve("default/web", world).notes["p"]
    assert "svc/web" in note
    assert "1 pods" in note


def test_blocks_without_their_exceptions_nodes_and_names():
    world = c.world(WEB)
    world.names["example.org"] = ("93.184.216.34",)
    block = c.cidr(192, 168, 0, 0, 16, (4, (192 << 24) + (168 << 16) + 256, 24))
    matches = egress(world, Rule(peers=(block, c.ref("node", "node-1"), c.ref("fqdn", "example.org"))))
    assert takes(matches, "192.168.0.9")
    assert not takes(matches, "192.168.1.9")
    assert takes(matches, c.NODE_V4)
    assert takes(matches, c.NODE_V6)
    assert takes(matches, "93.184.216.34")
    assert not takes(matches, "8.8.8.8")


def met(world, packet_remote: str, protocol: int = TCP, remote_port: int = 443) -> bool:
    plan = resolve("default/web", world).plan
    ether_type = IPV6 if ":" in packet_remote else IPV4
    packet = Packet(ether_type, protocol, number(packet_remote), remote_port, 40000)
    first = next((one for one in plan.classes if any(match.takes(packet) for match in one.matches)), None)
    return bool(first and first.stages)


@pytest.mark.parametrize("spared", [c.NODE_V4, c.NODE_V6, "10.96.0.1"])
def test_own_node_and_api_server_are_spared_unless_named_or_exempt_is_empty(spared):
    def plan_of(*rules: Rule, **profile):
        return c.world(WEB, profiles=(TrafficProfile("p", pods=c.ALL, egress=c.side(*rules), **profile),))

    family, value = objects.address(spared)
    exact = Selection(blocks=(c.Block((family, value, 32 if family == 4 else 128)),))
    wide = Selection(blocks=(c.Block((family, value, 16)),))
    assert not met(plan_of(), spared)
    assert met(plan_of(exempt=()), spared)
    assert met(plan_of(Rule(peers=(exact,))), spared)
    assert not met(plan_of(Rule(peers=(wide,))), spared), "a range that happens to hold it does not name it"
    assert met(plan_of(), "10.0.0.2")


def test_dns_is_spared_if_asked_and_what_is_spared_is_told():
    profile = TrafficProfile("p", pods=c.ALL, egress=c.side(), exempt=("node", "apiserver", "dns"))
    world = c.world(WEB, profiles=(profile,))
    assert not met(world, "8.8.8.8", UDP, 53)
    assert met(world, "8.8.8.8", UDP, 54)
    told = resolve("default/web", world).spared["p"]
    assert told == (f"node node-1 ({c.NODE_V4}, {c.NODE_V6})", "API server (10.96.0.1)", "DNS (port 53)")


def test_a_remote_on_another_node_sees_its_own_node_spared_only():
    far = {**DB, "spec": {**DB["spec"], "nodeName": "node-2"}}
    world = c.world(WEB, far, profiles=(TrafficProfile("p", pods=c.ALL, egress=c.side()),))
    world.nodes["node-2"] = {"status": {"addresses": [{"address": "172.18.0.3"}]}}
    assert met(world, "172.18.0.3")
    assert not met(world, c.NODE_V4)


def test_the_kubelets_source_address_on_a_bridge_is_spared():
    world = c.world(WEB, profiles=(TrafficProfile("p", pods=c.ALL, ingress=c.side()),))
    world.nodes["node-1"]["spec"] = {"podCIDRs": ["10.0.0.0/24"]}
    assert "10.0.0.1" in resolve("default/web", world).spared["p"][0]
