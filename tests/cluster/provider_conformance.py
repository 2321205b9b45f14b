"""What every provider must do, by the user's handles: a suite of classes that a test module runs over ``session``.

A module imports the classes and the fixtures, and defines ``choices``: the :class:`Choices` of its provider.
"""

from __future__ import annotations

import json
import re
import socket
import statistics
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_k8s_netem.api.protocol import ENDPOINTSLICES, EVENTS, NODES, PODS, REPLICASETS, TRAFFICPROFILES
from pytest_k8s_netem.cluster.cluster import Namespace
from pytest_k8s_netem.cluster.pod import CommandFailed
from pytest_k8s_netem.cluster.session import Choices, Session, open_session
from pytest_k8s_netem.errors import ApiError, ClusterError, ConfigError, NotApplied, ProofError
from pytest_k8s_netem.run.retry import blocking_attempts

__all__ = (
    "IMAGE",
    "TestDeployments",
    "TestImpairing",
    "TestNamespaces",
    "TestObjects",
    "TestTrafficProfiles",
    "TestWaysIn",
    "namespace",
    "session",
    "shop",
)

IN_MEMORY = ("local", "kubeconfig")
"""Providers whose TrafficProfiles live in this process, as the suite uses them."""
IMAGE = "python:3.11-slim-bookworm"
SOON = {"terminationGracePeriodSeconds": 1}
"""A container's first process is deaf to SIGTERM unless it says otherwise."""
SERVE = (
    "import http.server, os, sys\n"
    "class Answer(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        self.send_response(200); self.end_headers()\n"
    "        self.wfile.write(os.uname().nodename.encode())\n"
    "http.server.ThreadingHTTPServer(('', 8080), Answer).serve_forever()\n"
)
TIMED = (
    "import socket, sys, time\n"
    "for _ in range(5):\n"
    "    start = time.perf_counter()\n"
    "    socket.create_connection((sys.argv[1], 8080), 10).close()\n"
    "    print((time.perf_counter() - start) * 1e3)\n"
)


def container(*command: str, port: int = 0) -> dict[str, Any]:
    made: dict[str, Any] = {"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": list(command)}
    if port:
        made["readinessProbe"] = {"tcpSocket": {"port": port}, "periodSeconds": 1}
    return made


def pod(name: str, *command: str, port: int = 0) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [container(*(command or ("sleep", "infinity")), port=port)], **SOON},
    }


WEB = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [container("python3", "-c", SERVE, port=8080)], **SOON},
        },
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 8080, "targetPort": 8080}]},
}


@pytest.fixture(scope="module")
def session(choices: Choices) -> Iterator[Session]:
    opened = open_session(choices)
    opened.cluster.load_image(IMAGE)
    yield opened
    opened.close()


@pytest.fixture
def namespace(session: Session) -> Iterator[Namespace]:
    made = session.make_namespace("conformance")
    yield made
    session.end_namespace(made)


@pytest.fixture
def shop(namespace: Namespace) -> Namespace:
    namespace.apply([WEB, SERVICE, pod("client")])
    namespace.wait_ready()
    return namespace


def listed(session: Session, kind: Any, namespace: str | None = None) -> list[Any]:
    return list(session.portal.call(session.provider.api.list(kind, namespace)).items)


class TestObjects:
    def test_nodes_are_ready_and_pods_are_spread(self, session: Session, shop: Namespace) -> None:
        nodes = listed(session, NODES)
        assert all(
            any(c["type"] == "Ready" and c["status"] == "True" for c in n["status"]["conditions"]) for n in nodes
        )
        assert {pod.node for pod in shop.pods()} <= {node["metadata"]["name"] for node in nodes}
        assert len({pod.ip for pod in shop.pods()}) == 3

    def test_a_pod_says_what_became_of_it(self, session: Session, shop: Namespace) -> None:
        pod = shop.pod("client")
        (status,) = pod.object["status"]["containerStatuses"]
        assert (pod.phase, pod.ready, status["ready"], status["restartCount"]) == ("Running", True, True, 0)
        assert "running" in status["state"]

    def test_a_service_has_slices_with_its_ready_pods(self, session: Session, shop: Namespace) -> None:
        def addresses() -> set[str]:
            slices = listed(session, ENDPOINTSLICES, shop.name)
            return {
                address
                for piece in slices
                for point in piece["endpoints"] or ()
                if point["conditions"]["ready"]
                for address in point["addresses"]
            }

        for attempt in blocking_attempts(20, AssertionError):
            with attempt:
                assert addresses() == {pod.ip for pod in shop.pods("app=web")}

    def test_what_a_provider_cannot_do_is_refused_by_name(self, namespace: Namespace) -> None:
        bad = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": []}}
        with pytest.raises((ConfigError, ApiError), match=r"spec\.containers"):
            namespace.apply(bad)

    def test_applying_again_changes(self, session: Session, shop: Namespace) -> None:
        shop.apply({**WEB, "spec": {**WEB["spec"], "replicas": 1}})
        for attempt in blocking_attempts(30, AssertionError):
            with attempt:
                assert len(shop.pods("app=web")) == 1

    def test_a_manifest_is_a_path_a_text_or_an_object(self, namespace: Namespace, tmp_path: Path) -> None:
        (tmp_path / "two.yaml").write_text("\n---\n".join(json.dumps(pod(name)) for name in ("a", "b")))
        namespace.apply(tmp_path / "two.yaml")
        namespace.apply(str(tmp_path / "two.yaml"))
        namespace.apply(json.dumps(pod("c")) + "\n")
        namespace.apply([pod("d"), pod("e")])
        assert [one.name for one in namespace.wait_ready()] == ["a", "b", "c", "d", "e"]
        assert [one.name for one in namespace.pods("app in (b,d)")] == ["b", "d"]
        with pytest.raises(ClusterError, match=r"no pod 'x' in namespace '.*'; there are: a, b, c, d, e"):
            namespace.pod("x")

    def test_a_block_deletes_what_it_made_and_leaves_what_was_there(self, namespace: Namespace) -> None:
        namespace.apply(pod("before"))
        labelled = {**pod("before"), "metadata": {"name": "before", "labels": {"app": "before", "seen": "yes"}}}
        with namespace.apply([labelled, pod("within")]) as applied:
            namespace.wait_ready()
            assert [name for _, name, _ in applied.made] == ["within"]
        assert [one.name for one in namespace.pods()] == ["before"]
        assert namespace.pod("before").labels["seen"] == "yes"

    def test_a_pod_that_does_not_become_ready_is_told_with_its_log(self, namespace: Namespace) -> None:
        never = pod("never", "sh", "-c", "echo I wait for nobody; exec sleep infinity", port=9)
        namespace.apply(never)
        with pytest.raises(ClusterError) as told:
            namespace.wait_ready(timeout=8)
        assert "pod/never: Running" in str(told.value)
        assert "| I wait for nobody" in str(told.value)


class TestDeployments:
    def test_scale_and_replacement(self, shop: Namespace) -> None:
        shop.scale("web", 3)
        shop.wait_ready()
        before = {pod.name for pod in shop.pods("app=web")}
        assert len(before) == 3
        shop.pod(min(before)).delete(grace=0)
        for attempt in blocking_attempts(30, AssertionError):
            with attempt:
                assert len({pod.name for pod in shop.pods("app=web") if pod.ready} - before) == 1

    def test_a_deleted_deployment_takes_its_pods_along(self, session: Session, namespace: Namespace) -> None:
        applied = namespace.apply(WEB)
        namespace.wait_ready()
        applied.delete()
        assert namespace.pods() == []
        for attempt in blocking_attempts(20, AssertionError):
            with attempt:
                assert listed(session, REPLICASETS, namespace.name) == []

    def test_a_new_template_is_rolled_out(self, shop: Namespace) -> None:
        old = {pod.name for pod in shop.pods("app=web")}
        template = WEB["spec"]["template"]  # type: ignore[index]
        changed = {**template, "metadata": {"labels": {"app": "web", "release": "two"}}}
        shop.apply({**WEB, "spec": {**WEB["spec"], "template": changed}})  # type: ignore[dict-item]
        for attempt in blocking_attempts(60, AssertionError):
            with attempt:
                pods = shop.pods("app=web")
                assert len(pods) == 2
                assert all(pod.ready and pod.labels.get("release") == "two" for pod in pods)
        assert not old & {pod.name for pod in pods}


class TestWaysIn:
    def test_exec(self, shop: Namespace) -> None:
        assert shop.exec("client", ["cat"], stdin="hello").stdout == "hello"
        assert shop.exec("client", ["sh", "-c", "echo $WHO >&2"], env={"WHO": "me"}).stderr == "me\n"
        assert shop.exec("client", ["sh", "-c", "exit 3"], check=False).returncode == 3

    def test_spawn_and_stop(self, shop: Namespace) -> None:
        with shop.spawn("client", ["sh", "-c", "echo started; sleep 300"]) as process:
            for attempt in blocking_attempts(20, AssertionError):
                with attempt:
                    assert process.logs.startswith("started")
        assert process.stop().returncode != 0

    def test_logs(self, namespace: Namespace) -> None:
        namespace.apply(pod("talker", "sh", "-c", "echo to be read; exec sleep infinity"))
        namespace.wait_ready()
        for attempt in blocking_attempts(20, AssertionError):
            with attempt:
                assert namespace.logs("talker") == "to be read\n"

    def test_forward(self, shop: Namespace) -> None:
        with shop.forward("svc/web:8080") as url:
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert answer.read().decode() in {pod.name for pod in shop.pods("app=web")}
            address = url.removeprefix("http://").split(":")
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((address[0], int(address[1])), 5)

    def test_a_program_that_is_not_there_is_told_with_its_pod(self, shop: Namespace) -> None:
        for more in ({}, {"env": {"WHO": "me"}}):
            with pytest.raises(ClusterError, match=r"no-such-program in pod\W.*client(.|\n)*no-such-program.*[nN]o"):
                shop.exec("client", ["no-such-program"], **more)

    def test_a_command_that_fails_or_takes_too_long_is_told(self, shop: Namespace) -> None:
        with pytest.raises(CommandFailed, match="ended with 3\nsorry") as failed:
            shop.exec("client", ["sh", "-c", "echo sorry >&2; exit 3"])
        assert (failed.value.completed.returncode, failed.value.completed.stdout) == (3, "")
        with pytest.raises(ClusterError, match=r"did not end within 0\.5 s"):
            shop.exec("client", ["sleep", "4000"], timeout=0.5)
        listing = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"
        for attempt in blocking_attempts(20, AssertionError):
            with attempt:
                assert "sleep 4000" not in shop.exec("client", ["sh", "-c", listing]).stdout

    def test_a_service_is_a_name(self, shop: Namespace) -> None:
        get = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).read().decode())"
        names = {pod.name for pod in shop.pods("app=web")}
        for host in ("web", f"web.{shop.name}.svc.cluster.local"):
            for attempt in blocking_attempts(20, ClusterError):
                with attempt:
                    assert shop.exec("client", ["python3", "-c", get, f"http://{host}:8080/"]).stdout.strip() in names


class TestNamespaces:
    def test_two_are_apart_and_go_with_all_that_is_in_them(self, session: Session) -> None:
        one, two = (session.make_namespace("conformance") for _ in range(2))
        for each in (one, two):
            each.apply(pod("same"))
            each.wait_ready()
        assert one.pod("same").ip != two.pod("same").ip
        session.cluster.delete_namespace(one.name)
        assert [pod.name for pod in two.pods()] == ["same"]
        session.cluster.delete_namespace(two.name)
        assert not [pod for pod in listed(session, PODS) if pod["metadata"]["namespace"] in (one.name, two.name)]
        for attempt in blocking_attempts(60, AssertionError):  # its end is the cluster's business, and not waited for
            with attempt:
                assert not [event for event in listed(session, EVENTS) if event["metadata"]["namespace"] == one.name]

    def test_one_goes_soon_however_long_its_pods_would_take(self, session: Session) -> None:
        made = session.make_namespace("a long name, with [characters] that no namespace may have" * 3)
        assert re.fullmatch(r"netem-[a-z0-9]([-a-z0-9]*[a-z0-9])?", made.name)
        assert len(made.name) <= 63
        slow = pod("slow", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
        slow["spec"]["terminationGracePeriodSeconds"] = 600
        made.apply(slow)
        made.wait_ready()
        began = time.monotonic()
        session.end_namespace(made)
        assert time.monotonic() - began < 300, "its pods get no time to end"
        assert not [one for one in listed(session, PODS) if one["metadata"]["namespace"] == made.name]

    def test_what_names_no_namespace_is_at_home(self, session: Session) -> None:
        home = session.provider.home
        with session.cluster.apply(pod("at-home")):
            session.cluster.wait_ready("app=at-home")
            assert session.cluster.pod("at-home").namespace == home
            assert session.cluster.exec("at-home", ["echo", "here"]).stdout == "here\n"
            assert "at-home" in [one.name for one in session.cluster.pods(namespace=home)]
        with pytest.raises(ClusterError, match=f"no pod 'at-home' in namespace '{home}'"):
            session.cluster.pod("at-home")


class TestImpairing:
    """The handle, as ``netem.impair`` and markers give it too."""

    @staticmethod
    def _median(shop: Namespace) -> float:
        return TestTrafficProfiles._median(shop)

    def test_a_block_is_an_impairment_that_can_be_changed_and_measured(self, shop: Namespace) -> None:
        assert self._median(shop) < 50
        with shop.impair(delay="60ms", pods="app=client", to="app=web") as handle:
            assert self._median(shop) >= 60
            assert handle.applied
            assert handle.engine in ("kernel", "userspace")
            assert set(handle.observed()) == {f"{shop.name}/client"}
            handle.assert_rtt(median=("60ms", "160ms"))
            with pytest.raises(AssertionError, match="asked"):
                handle.assert_rtt(median=("500ms", "600ms"))
            handle.update(delay="200ms")
            assert self._median(shop) >= 200
            with handle.pause():
                assert self._median(shop) < 50
            handle.replace(rtt="100ms", pods="app=client", to="app=web")
            handle.assert_rtt(median=("100ms", "190ms"))
        assert self._median(shop) < 50
        with pytest.raises(NotApplied):
            handle.observed()

    def test_all_may_be_lost_but_the_way_that_a_test_steers_by(self, shop: Namespace) -> None:
        connect = "import socket, sys; socket.create_connection((sys.argv[1], 8080), 1)"
        address = shop.pods("app=web")[0].ip
        with shop.impair(loss="100%", pods="app=web", direction="both") as handle:
            failed = shop.exec("client", ["python3", "-c", connect, address], check=False)
            assert "timed out" in failed.stderr
            handle.assert_loss("100%")
            with shop.forward("deploy/web:8080") as url, urllib.request.urlopen(url, timeout=20) as answer:
                assert answer.status == 200
        assert shop.exec("client", ["python3", "-c", connect, address]).returncode == 0

    def test_blocks_nest_and_add_up(self, shop: Namespace) -> None:
        with (
            shop.impair(delay="40ms", pods="app=client", to="app=web"),
            shop.impair(delay="50ms", pods="app=web", to="app=client", direction="egress"),
        ):
            assert self._median(shop) >= 90
        assert self._median(shop) < 50

    def test_what_met_nothing_is_no_success(self, shop: Namespace) -> None:
        with (
            pytest.raises(ProofError, match="met no packet"),
            shop.impair(delay="1ms", pods="app=client", to="app=web", ports="udp/9999"),
        ):
            pass
        with shop.impair(delay="1ms", pods="app=client", to="app=web", ports="udp/9999", inert="ignore"):
            pass

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ({"pods": "app=nobody", "delay": "1ms"}, "app=nobody selects no pod in namespace .*pod/client"),
            ({"pods": "app=client", "to": "pod/nobody", "delay": "1ms"}, "pod/nobody selects nothing in namespace"),
            ({"pods": "app=client", "delay": "1"}, 'delay="1".*"1ms"'),
        ],
    )
    def test_what_cannot_be_meant_is_refused_and_changes_nothing(
        self, shop: Namespace, words: dict[str, str], told: str
    ) -> None:
        with pytest.raises(ConfigError, match=told), shop.impair(**words):
            pass
        assert self._median(shop) < 50


def profile(name: str, namespace: str, **impairment: Any) -> dict[str, Any]:
    return {
        "apiVersion": "k8s-netem.riasc.eu/v1",
        "kind": "TrafficProfile",
        "metadata": {"name": name},
        "spec": {
            "podSelector": {"matchLabels": {"app": "client"}},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "web"}}}]}],
            "impairment": impairment,
        },
    }


class TestTrafficProfiles:
    @staticmethod
    def _verified(session: Session, name: str, generation: int) -> dict[str, Any]:
        for attempt in blocking_attempts(30, AssertionError):
            with attempt:
                obj = session.portal.call(session.provider.api.get(TRAFFICPROFILES, name))
                conditions = {each["type"]: each for each in (obj.get("status") or {}).get("conditions") or ()}
                verified = conditions.get("Verified", {})
                assert (verified.get("status"), verified.get("observedGeneration")) == ("True", generation), conditions
        return obj["status"]  # type: ignore[no-any-return]

    @staticmethod
    def _median(shop: Namespace) -> float:
        address = shop.pods("app=web")[0].ip
        lines = shop.exec("client", ["python3", "-c", TIMED, address]).stdout.split()
        return statistics.median(map(float, lines))

    def test_an_object_is_a_delay_a_change_another_its_end_none(self, session: Session, shop: Namespace) -> None:
        name = f"slow-{shop.name}"[:63]
        assert self._median(shop) < 50
        applied = shop.apply(profile(name, shop.name, delay="100ms"))
        status = self._verified(session, name, 1)
        assert status["pods"] == {"selected": 1, "expected": 1, "applied": 1, "verified": 1}
        assert status["engine"] in ("kernel", "userspace")
        assert status["impairment"].startswith("delay 100ms, egress of app=client")
        assert 100 <= self._median(shop) < 200
        shop.apply(profile(name, shop.name, delay="300ms"))
        self._verified(session, name, 2)
        assert 300 <= self._median(shop) < 400
        applied.delete()
        assert self._median(shop) < 50

    @pytest.mark.parametrize("made", ["alone", "after another", "generated"])
    def test_a_bad_one_is_refused_with_all_its_mistakes_before_anything_is_made(
        self, session: Session, shop: Namespace, made: str
    ) -> None:
        name = f"bad-{shop.name}"[:63]
        good, bad = profile(f"good-{name}"[:63], shop.name, delay="100ms"), profile(name, shop.name, delay="100")
        bad["spec"]["egres"] = []
        if made == "generated":
            bad["metadata"] = {"generateName": "bad-"}
        with pytest.raises(ConfigError, match=r"spec\.impairment\.delay") as told:
            shop.apply([good, bad] if made == "after another" else bad)
        assert "spec.egres: unknown field; did you mean egress?" in str(told.value)
        there = session.portal.call(session.provider.api.list(TRAFFICPROFILES)).items
        assert not {obj["metadata"]["name"] for obj in there} & {name, f"good-{name}"[:63]}
        assert not [obj for obj in there if obj["metadata"]["name"].startswith("bad-") and made == "generated"]

    def test_a_bad_change_is_refused_and_changes_nothing(self, session: Session, shop: Namespace) -> None:
        name = f"kept-{shop.name}"[:63]
        applied = shop.apply(profile(name, shop.name, delay="100ms"))
        self._verified(session, name, 1)
        other = profile(name, shop.name)
        del other["spec"]["impairment"]
        other["spec"] |= {"type": "Builtin", "parameters": {"netem": {"delay": 0.3}}}
        with pytest.raises(ConfigError, match=r"spec\.parameters: belongs to k8s-netem's dialect"):
            shop.apply(other)  # good by itself, but the stored one keeps what it does not name
        stored = session.portal.call(session.provider.api.get(TRAFFICPROFILES, name))
        assert stored["metadata"]["generation"] == 1
        shop.apply(profile(name, shop.name, delay="200ms"))
        self._verified(session, name, 2)
        applied.delete()

    def test_a_bad_one_that_came_past_it_is_told_with_its_path(self, session: Session, shop: Namespace) -> None:
        name = f"bad-{shop.name}"[:63]
        api, bad = session.provider.api, profile(name, shop.name, delay="100")
        if session.provider.name not in IN_MEMORY:  # an API server refuses it itself
            with pytest.raises(ApiError, match=r"spec\.impairment\.delay"):
                session.portal.call(api.create(TRAFFICPROFILES, bad))
            return
        session.portal.call(api.create(TRAFFICPROFILES, bad))
        for attempt in blocking_attempts(30, AssertionError):
            with attempt:
                obj = session.portal.call(session.provider.api.get(TRAFFICPROFILES, name))
                accepted = next(c for c in obj["status"]["conditions"] if c["type"] == "Accepted")
                assert (accepted["status"], "spec.impairment.delay" in accepted["message"]) == ("False", True)
        session.portal.call(api.delete(TRAFFICPROFILES, name))
