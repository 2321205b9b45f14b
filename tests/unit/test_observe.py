"""What ``netem observe`` says of runs and clusters, and its exit status."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_provider import HELD, STATUS, Provider, condition, filled, profile

from pytest_k8s_netem import cli
from pytest_k8s_netem.cluster import observing
from pytest_k8s_netem.cluster.answering import Answering
from pytest_k8s_netem.controller.evidence import Evidence, Gap
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.report import observation
from pytest_k8s_netem.report.words import effect_words
from pytest_k8s_netem.run.directory import RunDirectory
from pytest_k8s_netem.run.identity import Identity
from pytest_k8s_netem.run.portal import Portal
from pytest_k8s_netem.run.snapshot import Observation, ProfileSeen


@pytest.fixture
def portal() -> Iterator[Portal]:
    made = Portal()
    yield made
    made.stop()


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunDirectory]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    made = RunDirectory(Identity("run"))
    assert made.path.exists()
    yield made
    made.remove()


@pytest.fixture
def provider(portal: Portal) -> Provider:
    return portal.call(filled())


@pytest.fixture
def answering(portal: Portal, provider: Provider, directory: RunDirectory) -> Iterator[Answering]:
    made = Answering(provider, "run", directory.path)  # type: ignore[arg-type]
    portal.call(made.start())
    yield made
    portal.call(made.stop())


def test_a_run_tells_what_it_impairs(answering: Answering, provider: Provider, capsys: Any) -> None:
    provider.witness.found = Evidence(gaps=(Gap("shop/web", 1.0, None, "worker"),))
    assert cli.main(["observe"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("run run, provider fake, process ")
    assert "test_a_run_tells_what_it_impairs" in told[0]
    assert [line.split() for line in told[1:3]] == [
        ["PROFILE", "STATE", "PODS", "ENGINE", "IMPAIRMENT"],
        ["netem-1", "new", "0/0", "-", "-"],
    ]
    assert told[3:] == [
        "    no controller has taken it up yet",
        "    pod/shop/web: not impaired until now: the process that carries its packets ended or hung",
    ]


def test_as_json(answering: Answering, capsys: Any) -> None:
    cli.main(["observe", "-o", "json"])
    (run,) = json.loads(capsys.readouterr().out)
    assert run["problem"] == ""
    assert [one["name"] for one in run["profiles"]] == ["netem"]
    assert run["profiles"][0]["object"]["kind"] == "TrafficProfile"


def test_all_verified_is_status_0(answering: Answering, provider: Provider, portal: Portal) -> None:
    from pytest_k8s_netem.api.protocol import TRAFFICPROFILES

    portal.call(provider.api.patch(TRAFFICPROFILES, "netem-1", {"status": STATUS}, subresource="status"))
    assert cli.main(["observe"]) == 0


def test_no_run_is_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert cli.main(["observe"]) == 0
    assert capsys.readouterr().out == "none of your pytest runs on this machine has pods now\n"


def test_a_run_that_begins_has_nothing_to_tell(directory: RunDirectory, capsys: Any) -> None:
    assert cli.main(["observe"]) == 0
    assert capsys.readouterr().out == "run run, starting or ending\n  nothing is impaired\n"


def test_a_run_that_hangs_is_said_to(
    answering: Answering, portal: Portal, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(observing, "ANSWER_WITHIN", 0.3)
    release = threading.Event()

    async def block() -> None:
        release.wait(30)

    blocked = portal.submit(block())
    try:
        assert cli.main(["observe"]) == 1
    finally:
        release.set()
        blocked.result(30)
    assert capsys.readouterr().out == "run run\n  it does not answer within 0.3 s\n"


def test_a_profile_that_cannot_be_read_back_keeps_no_other_from_it(
    answering: Answering, provider: Provider, capsys: Any
) -> None:
    async def refused(_: str) -> Evidence:
        raise ImpairmentError("the agent says no")

    provider.witness.evidence = refused
    assert cli.main(["observe"]) == 1
    assert "    note: its pods were not read back: the agent says no\n" in capsys.readouterr().out


def test_a_directory_too_deep_for_a_socket_is_no_reason_to_fail(portal: Portal, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    answering = Answering(Provider(), "run", deep)  # type: ignore[arg-type]
    portal.call(answering.start())
    portal.call(answering.stop())


def test_a_kubeconfig_that_names_nothing(tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["observe", "--kubeconfig", str(tmp_path / "none")]) == 1
    assert "names no cluster" in capsys.readouterr().err


def test_a_table_says_why_pods_are_not_verified() -> None:
    status = {
        **STATUS,
        "engine": "userspace",
        "pods": {"expected": 3, "verified": 1},
        "conditions": [
            condition("Accepted"),
            condition("Applied"),
            condition("Verified", "False", "NotProven", "a: b"),
        ],
        "targets": [
            {"pod": "shop/db", "verified": False, "message": "not probed yet"},
            {"pod": "shop/web", "verified": True},
        ],
    }
    seen = Observation("cluster kind-x", (ProfileSeen("netem", profile(status), {"shop/web": HELD}, notes=("n",)),))
    assert observation.table([seen, Observation("run y", problem="it hangs")]).splitlines() == [
        "cluster kind-x",
        "  PROFILE  STATE         PODS  ENGINE     IMPAIRMENT",
        "  netem-1  not verified  1/3   userspace  delay 10ms, egress of app=web",
        "    a: b",
        "    pod/shop/web: 3 packets met, 1 lost, 2 delayed, userspace engine",
        "    pod/shop/db: not verified: not probed yet",
        "    note: n",
        "",
        "run y",
        "  it hangs",
    ]
    assert not observation.verified([seen])


def test_a_million_packets_are_written_out() -> None:
    held = replace(HELD, effect={"packets": 1_234_567, "delayed": 1_234_567})
    assert effect_words(held) == "1234567 packets met, 1234567 delayed, userspace engine"
