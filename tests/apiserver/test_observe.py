"""``netem observe`` and evidence, where TrafficProfiles are objects of a real API server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from provider_conformance import pod, profile

from pytest_k8s_netem.api.protocol import EVENTS
from pytest_k8s_netem.cluster.session import Choices, Session, open_session
from pytest_k8s_netem.report import evidence
from pytest_k8s_netem.run.identity import RUN
from pytest_k8s_netem.run.retry import blocking_attempts

pytestmark = pytest.mark.needs("netns", "apiserver")
NETEM = [sys.executable, "-c", "from pytest_k8s_netem.cli import main; raise SystemExit(main())"]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    opened = open_session(Choices(provider="apiserver"))
    yield opened
    opened.close()


@pytest.fixture
def slow(session: Session) -> Iterator[str]:
    """A namespace where a client is slow towards the web."""
    namespace = session.make_namespace("observe")
    namespace.apply([pod("client"), pod("web")])
    namespace.wait_ready()
    obj: dict[str, Any] = profile("slow", namespace.name, delay="100ms")
    obj["metadata"]["labels"] = {RUN: session.identity.name}
    with namespace.apply(obj):
        for attempt in blocking_attempts(30, AssertionError):
            with attempt:
                assert "verified" in observe(session).stdout.split("\n")[2].split()
        yield namespace.name
    session.end_namespace(namespace)


def observe(session: Session, *options: str) -> subprocess.CompletedProcess[str]:
    kubeconfig = str(getattr(session.provider, "kubeconfig"))  # noqa: B009 - of this provider alone
    argv = [*NETEM, "observe", "--kubeconfig", kubeconfig, *options]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_a_cluster_tells_what_its_objects_say(session: Session, slow: str) -> None:
    told = observe(session).stdout.splitlines()
    assert told[0].startswith("cluster ")
    assert told[2].split()[:4] == ["slow", "verified", "1/1", "userspace"]
    assert told[3].startswith("    note: its pods were not read back: the controller in the cluster cannot be asked: ")


def test_a_context_that_is_not_there_is_named(session: Session) -> None:
    done = observe(session, "--context", "nowhere")
    assert done.returncode == 1
    assert "context nowhere names no cluster" in done.stderr


def test_a_snapshot_has_the_events_of_the_namespace(session: Session, slow: str) -> None:
    about = {"kind": "Pod", "name": "web", "namespace": slow}
    event = {
        "metadata": {"name": "e1"},
        "involvedObject": about,
        "type": "Warning",
        "reason": "BackOff",
        "message": "Back-off restarting",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    session.portal.call(session.provider.api.create(EVENTS, event, slow))
    snapshot = session.camera.snapshot(AssertionError())
    session.camera.phase_over(last=True)
    assert snapshot is not None
    assert snapshot.missing == ()
    text = evidence.text(snapshot)
    assert "event of pod/web: BackOff: Back-off restarting" in text
    assert "impairment 'slow': delay 100ms, egress of app=client" in text
    assert [seen.role for seen in snapshot.pods] == ["impaired", "peer"]
