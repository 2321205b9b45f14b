"""A run's identity, directory, reaper, events, sweep and signals, with real processes that are really killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pytest_k8s_netem.errors import NetemError, ProviderError
from pytest_k8s_netem.run import directory, events, identity
from pytest_k8s_netem.run.directory import RunDirectory, base_directory, remove_dead
from pytest_k8s_netem.run.identity import Identity, label_value
from pytest_k8s_netem.run.signals import Terminated, Termination
from pytest_k8s_netem.run.sweep import directories, sweep


def wait_for(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


# identity


def test_workers_of_one_run_share_its_id() -> None:
    one = Identity.of({"USER": "me"}, uid="abc", worker="gw0")
    two = Identity.of({"USER": "me"}, uid="abc", worker="gw1")
    assert one.run == two.run
    assert (one.name, two.name) == (f"{one.run}-gw0", f"{one.run}-gw1")
    assert Identity.of({}).run != Identity.of({}).run
    inherited = {"PYTEST_XDIST_TESTRUNUID": "abc", "PYTEST_XDIST_WORKER": "gw0"}
    assert Identity.of(inherited).name != one.name, "a run that a worker's test starts is one of its own"


def test_a_name_that_a_living_process_has_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "HELD_WITHIN", 0.05)
    first, second = (RunDirectory(Identity("abc", "gw0"), tmp_path / "runs") for _ in range(2))
    assert first.path.exists()
    with pytest.raises(ProviderError, match="abc-gw0 is another living process's"):
        second.path  # noqa: B018 - it is made by that
    first.remove()
    assert second.path.exists()
    second.remove()


def test_labels_are_valid_and_tell_when_they_expire() -> None:
    labels = Identity("0a1b2c3d", "gw0", "me.host").labels("tests/test_a.py::test_b[x y]", expires_in=60)
    assert labels[identity.RUN] == "0a1b2c3d-gw0"
    assert all(value and len(value) <= 63 and value.replace("_", "a")[-1].isalnum() for value in labels.values())
    assert not identity.expired(labels)
    assert identity.expired(labels, time.time() + 100)
    assert not identity.expired({})


@pytest.mark.parametrize("text", ["", "plain", "a/b", "x" * 100, "::", "ünï", "-a-", "a" * 60 + "::"])
def test_label_values(text: str) -> None:
    value = label_value(text)
    assert len(value) <= 63
    assert value == "" or (value[0].isalnum() and value[-1].isalnum() and value.isascii())
    assert label_value(value) == value
    assert label_value("a/b") != label_value("a:b")


# directory


def test_nothing_is_made_before_it_is_asked_for(tmp_path: Path) -> None:
    base = tmp_path / "base"
    directory = RunDirectory(Identity("one"), base)
    directory.remove()
    assert not base.exists()
    path = directory.path
    assert (path.stat().st_mode & 0o777, base.stat().st_mode & 0o777) == (0o700, 0o700)
    (path / "log").write_text("x")
    assert not remove_dead(path)
    directory.remove()
    assert not base.exists()


def test_a_base_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir(mode=0o755)
    with pytest.raises(ProviderError, match="alone"):
        _ = RunDirectory(Identity("one"), base).path


def test_where_directories_are(tmp_path: Path) -> None:
    assert base_directory({"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "pytest-k8s-netem"
    assert str(os.getuid()) in base_directory({"XDG_RUNTIME_DIR": "/nowhere"}).name


RUN = """
import sys, pathlib, time
from pytest_k8s_netem.run.directory import RunDirectory
from pytest_k8s_netem.run.identity import Identity
from pytest_k8s_netem.run.reaper import Reaper
directory = RunDirectory(Identity("victim"), pathlib.Path(sys.argv[1]))
(directory.path / "log").write_text("x")
reaper = Reaper(directory.path) if sys.argv[2] == "reaper" else None
print(reaper.pid if reaper else 0, flush=True)
sys.stdin.read()
if reaper:
    reaper.stop()
print((pathlib.Path(sys.argv[1]) / "victim").exists(), flush=True)
"""


def start(base: Path, reaper: str) -> tuple[subprocess.Popen[str], int]:
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(base), reaper], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    return run, int(run.stdout.readline())


def test_a_killed_runs_directory_is_recognised_and_swept(tmp_path: Path) -> None:
    base = tmp_path / "base"
    alive = RunDirectory(Identity("alive"), base)
    assert alive.path.exists()
    run, _ = start(base, "")
    assert sweep([directories(base)]).removed == ()
    run.kill()
    run.communicate()
    swept = sweep([directories(base)])
    assert [line.endswith("victim") for line in swept.removed] == [True]
    assert alive.path.exists()
    alive.remove()
    assert not base.exists()


def test_the_reaper_removes_the_directory_of_a_killed_run(tmp_path: Path) -> None:
    base = tmp_path / "base"
    run, reaper = start(base, "reaper")
    assert os.getsid(reaper) == reaper
    run.kill()
    run.communicate()
    wait_for(lambda: not base.exists(), "the directory is still there")
    wait_for(lambda: not _running(reaper), "the reaper is still there")


def test_the_reaper_ends_with_an_orderly_run(tmp_path: Path) -> None:
    run, reaper = start(tmp_path / "base", "reaper")
    output, _ = run.communicate("", timeout=30)
    assert output == "False\n"
    assert not _running(reaper)


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# sweep


def test_one_sweeper_that_fails_does_not_stop_the_others() -> None:
    def fails() -> Iterable[str]:
        yield "a"
        raise NetemError("b could not be removed; remove it by hand: rm b")

    swept = sweep([fails, lambda: ["c"]])
    assert swept.removed == ("a", "c")
    assert swept.left == ("b could not be removed; remove it by hand: rm b",)


# events


def test_events_survive_on_disk(tmp_path: Path) -> None:
    log = events.EventLog()
    heard: list[events.Event] = []
    log.subscribe(heard.append)
    log(events.Committed(("a/b",), ("p",), 0.001))
    log.write_to(tmp_path / "events")
    log(events.GapClosed("a/b", "p", "worker", 1.5))
    assert (tmp_path / "events").read_text() == "".join(events.dumps(event) + "\n" for event in log)
    assert list(log) == heard
    log.close()
    log(events.Trouble("a/b", "later"))
    assert len(list(log)) == 3


def test_an_event_is_a_line_of_json() -> None:
    line = events.dumps(events.Committed(("a/b",), ("p",), 0.001, at=1.5))
    assert json.loads(line) == {"is": "Committed", "pods": ["a/b"], "profiles": ["p"], "skew": 0.001, "at": 1.5}


# signals


def term() -> None:
    signal.raise_signal(signal.SIGTERM)


def test_sigterm_is_an_orderly_end_once_and_only_while_held() -> None:
    called: list[int] = []
    outer = signal.signal(signal.SIGTERM, lambda number, _: called.append(number))
    try:
        before = signal.getsignal(signal.SIGTERM)
        termination = Termination()
        termination.hold()
        termination.hold()
        with pytest.raises(Terminated):
            term()
        term()
        assert called == [signal.SIGTERM] * 2
        termination.release()
        assert signal.getsignal(signal.SIGTERM) != before
        termination.release()
        assert signal.getsignal(signal.SIGTERM) == before
    finally:
        signal.signal(signal.SIGTERM, outer)


def test_an_ignored_sigterm_stays_ignored() -> None:
    outer = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        termination = Termination()
        termination.hold()
        term()
        termination.release()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, outer)


def test_other_threads_leave_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=Termination().hold)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before
