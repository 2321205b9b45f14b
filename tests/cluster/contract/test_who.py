"""Whose packets: every form of ``pods``, ``to``, ``from_``, which way, and by which ports."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from lanes import LATE, address, eventually, late, manifest, took

from pytest_k8s_netem.errors import ConfigError

pytestmark = [pytest.mark.needs("netns"), pytest.mark.usefixtures("by_engine")]


@pytest.fixture
def impair(netem: Any) -> Any:
    """Impair with the delay of these tests, whatever part of it is met."""
    return lambda **who: netem.impair(delay=LATE, inert="ignore", unexercised="ignore", **who)


@pytest.fixture
def stranger(people):
    """A pod in another namespace, with the name and labels of one here."""
    other = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}
    with people.apply(other), people.apply(manifest("ann"), namespace="other"):
        people.wait_ready(namespace="other")
        yield people.pod("ann", namespace="other")


def test_left_out_pods_are_all_of_the_tests_namespace(impair, ann, bob, cid, stranger):
    with impair():
        assert late(ann, bob)
        assert late(cid, ann)
        assert not late(stranger, ann)


def test_peers_are_looked_for_there_too(impair, bob, stranger):
    with impair(pods="app=bob", to="app=ann"):
        assert not late(bob, stranger)


@pytest.mark.parametrize("namespaces", ["other", "*", ["default", "other"]])
def test_other_namespaces_are_reached_by_name(impair, ann, bob, stranger, namespaces):
    with impair(pods="app=ann", namespaces=namespaces):
        assert late(stranger, bob)
        assert late(ann, bob) is (namespaces != "other")


@pytest.mark.parametrize(
    "pods",
    ["app=ann", "app=ann,tier!=back", "tier in (front)", "pod/ann", ["pod/ann", "app=nobody"], "app in (ann,x)"],
)
def test_forms_of_pods(impair, ann, bob, pods):
    with impair(pods=pods):
        assert late(ann, bob)
        assert not late(bob, ann)


def test_a_service_stands_for_its_pods(impair, ann, bob, cid):
    with impair(pods="svc/shop"):
        assert late(bob, ann)
        assert not late(cid, ann)


def test_a_deployment_stands_for_its_pods(impair, ann, bob, people):
    with people.apply(manifest("web", replicas=2)):
        people.wait_ready()
        with impair(pods="deploy/web"):
            assert all(late(pod, ann) for pod in people.pods("app=web"))
            assert not late(bob, ann)


@pytest.mark.parametrize("form", ["app=bob", "pod/bob", "svc/shop", "{ip}", "{ip}/32", ["{ip}", "app=nobody"]])
def test_forms_of_to(impair, ann, bob, cid, form):
    to = [part.format(ip=address(bob)) for part in form] if isinstance(form, list) else form.format(ip=address(bob))
    with impair(pods="app=ann", to=to):
        assert late(ann, bob)
        assert not late(ann, cid)


@pytest.mark.parametrize("form", ["app=bob", "pod/bob", "{ip}", "{ip}/32", ["{ip}", "app=nobody"]])
def test_forms_of_from(impair, ann, bob, cid, form):
    parts = [part.format(ip=address(bob)) for part in ([form] if isinstance(form, str) else form)]
    with impair(pods="app=ann", from_=parts):
        assert late(bob, ann)
        assert not late(cid, ann)


@pytest.mark.parametrize(("form", "other"), [("{}", False), ("{}/128", False), ("fd00::/8", True), ("::/0", True)])
def test_addresses_of_the_newer_family_mean_packets_of_it_only(impair, ann, bob, cid, form, other):
    if len(ann.ips) < 2:
        pytest.skip("this kernel gives pods no IPv6 address")
    with impair(pods="app=ann", to=form.format(address(bob, 6))):
        assert late(ann, bob, family=6)
        assert late(ann, cid, family=6) is other
        assert not late(ann, bob)


def test_a_node_stands_for_its_addresses_not_its_pods(impair, people, ann, bob):
    with impair(pods="app=ann", to=f"node/{bob.node}"):
        assert not late(ann, bob)


def test_a_host_name_stands_for_its_addresses(impair, ann, bob, cid, monkeypatch):
    """The resolver is the machine's own, so its answer is given here; all else is real."""
    real, name = socket.getaddrinfo, "shop.example.org"

    def resolve(host: Any, *more: Any, **options: Any) -> Any:
        return real(address(bob) if host == name else host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with impair(pods="app=ann", to=f"fqdn:{name}"):
        assert late(ann, bob)
        assert not late(ann, cid)


def test_except_takes_away(impair, ann, bob, cid):
    with impair(pods="app=ann", to="tier=back", except_="app=cid"):
        assert late(ann, bob)
        assert not late(ann, cid)


def test_to_is_egress_and_from_is_ingress(impair, ann, bob):
    with impair(pods="app=ann", to="app=bob"):
        assert late(ann, bob)
        assert not late(bob, ann)
    with impair(pods="app=ann", from_="app=bob"):
        assert late(bob, ann)
        assert not late(ann, bob)


@pytest.mark.parametrize(("direction", "out", "back"), [("egress", 1, 0), ("ingress", 0, 1), ("both", 1, 1)])
def test_direction(impair, ann, bob, direction, out, back):
    with impair(pods="app=ann", direction=direction):
        assert late(ann, bob) == out
        assert late(bob, ann) == back


def test_without_a_word_it_is_egress(impair, ann, bob):
    with impair(pods="app=ann"):
        assert late(ann, bob)
        assert not late(bob, ann)


def test_a_profile_meets_a_packet_once(impair, ann, bob):
    """Both ends are selected, in both directions: still one delay, at the sender."""
    with impair(pods="app in (ann, bob)", direction="both"):
        assert 200 <= min(took(ann, bob) for _ in range(5)) < 400


def test_ports_are_either_end_of_a_conversation(impair, ann, bob):
    with impair(pods="app=ann", direction="both", ports="udp/5432"):
        assert late(ann, bob, port=5432)
        assert late(bob, ann, own=5432)
        assert not late(ann, bob, port=5433)


def test_source_and_destination_ports_are_exact(impair, ann, bob):
    with impair(pods="app=ann", dst_ports="udp/5432"):
        assert late(ann, bob, port=5432)
        assert not late(ann, bob, own=5432)
    with impair(pods="app=ann", src_ports="udp/5432"):
        assert late(ann, bob, own=5432)
        assert not late(ann, bob, port=5432)


def test_ipv6_alike(impair, ann, bob, cid):
    if len(ann.ips) < 2:
        pytest.skip("this kernel gives pods no IPv6 address")
    with impair(pods="app=ann", to="app=bob"):
        assert late(ann, bob, family=6)
        assert not late(ann, cid, family=6)


@pytest.fixture
def probed(people):
    """A web server whose readiness the node asks for once a second."""
    obj = manifest("probed")
    obj["spec"]["containers"][0] |= {
        "command": ["python3", "-u", "-m", "http.server", "8000"],
        "readinessProbe": {"httpGet": {"port": 8000}, "periodSeconds": 1, "failureThreshold": 1},
    }
    with people.apply(obj):
        yield people.wait_ready("app=probed")[0]


def test_health_checks_of_the_node_go_on_under_total_loss(netem, probed):
    with netem.blackhole("app=probed", inert="ignore"):
        asked = probed.logs().count("GET /")
        eventually(lambda: probed.logs().count("GET /") > asked + 1)
        assert probed.ready


@pytest.mark.needs("ping")
def test_the_pods_own_node_is_spared_unless_it_is_named(impair, probed):
    gateway = probed.exec(["ip", "-4", "route", "show", "default"]).stdout.split()[2]
    ping = ["ping", "-c1", "-W2", gateway]
    with impair(pods="app=probed") as block:
        assert _ping(probed, ping) < 200
        assert any(gateway in text for text in block.record.spared), "and that is told"
    for to in (f"node/{probed.node}", gateway):
        with impair(pods="app=probed", to=to):
            assert _ping(probed, ping) >= 200
    with impair(pods="app=probed", exempt=()) as block:
        assert _ping(probed, ping) >= 200
        assert not block.record.spared


def _ping(pod: Any, argv: list[str]) -> float:
    return float(pod.exec(argv).stdout.partition("time=")[2].split()[0])


def test_a_peer_that_selects_nothing_is_an_error_that_lists_what_is_there(impair, people):
    told = r"app=dan selects nothing in namespace default; there are .*pod/bob"
    with pytest.raises(ConfigError, match=told), impair(pods="app=ann", to="app=dan"):
        pass


@pytest.mark.parametrize(("to", "there"), [("svc/shpo", "svc/shop"), ("node/none", "node/node-0, node/node-1")])
def test_a_name_that_nothing_has_lists_what_is_called_so(impair, people, to, there):
    with pytest.raises(ConfigError, match=f"{to} selects nothing.*; there are {there}"), impair(pods="app=ann", to=to):
        pass


def test_a_selector_that_selects_nothing_lists_what_is_there(impair, people):
    told = r"app=dan selects no pod in namespace default; there are pod/ann \(app=ann,tier=front\), pod/bob"
    with pytest.raises(ConfigError, match=told), impair(pods="app=dan"):
        pass


@pytest.mark.parametrize(
    ("words", "port"),
    [
        ({"to": "app=bob", "ports": "tcp/http"}, "tcp/http"),
        ({"ports": "tcp/http"}, "tcp/http"),
        ({"to": "svc/shop", "dst_ports": "tcp/9"}, "tcp/9"),
    ],
)
def test_a_port_that_no_peer_has_is_an_error_that_names_it(impair, people, words, port):
    told = rf"no packet of the selected pods \(1\) would be met: no peer has port {port}"
    with pytest.raises(ConfigError, match=told), impair(pods="app=ann", **words):
        pass
