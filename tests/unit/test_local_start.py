"""Commands of the embedded cluster that are started as another user, which takes a process of ours for a moment."""

from __future__ import annotations

import os
import pwd
import signal
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pytest_k8s_netem.local import processes, sandbox
from pytest_k8s_netem.local.processes import Processes, Start, StartError

FILES = sandbox.Files("", "", "web")


def _start(uid: int | None, gid: int | None) -> Start:
    command = sandbox.Command(["redis-server"], {}, "/", uid, gid)
    return Start(1, -1, ("default/web", "main"), FILES, command, (0, 1, 2))


@pytest.mark.parametrize(
    ("uid", "gid", "told"),
    [
        (999, None, "container main of pod/web did not start as user 999 within 0.2 s$"),
        (999, 999, "container main of pod/web did not start as user 999 within 0.2 s$"),
        (None, 999, "container main of pod/web did not start as group 999 within 0.2 s$"),
    ],
)
def test_a_start_that_hangs_is_named(
    monkeypatch: pytest.MonkeyPatch, uid: int | None, gid: int | None, told: str
) -> None:
    monkeypatch.setattr(processes, "STARTED_WITHIN", 0.2)
    reading, writing = os.pipe()

    def hang(*_: Any) -> NoReturn:
        os.write(writing, str(os.getpid()).encode())
        while True:
            signal.pause()

    monkeypatch.setattr(sandbox, "become", hang)
    try:
        with pytest.raises(StartError, match=told):
            Processes(nested=False)._fork(_start(uid, gid))
        pid = int(os.read(reading, 20))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    finally:
        os.close(reading)
        os.close(writing)


def test_a_users_group_is_that_of_the_file_passwd(monkeypatch: pytest.MonkeyPatch) -> None:
    """No directory service is asked: it may not answer, and everything else would wait with it."""
    known = {}
    for line in Path("/etc/passwd").read_text().splitlines():
        _name, _password, uid, gid, *_ = line.split(":")
        known.setdefault(int(uid), int(gid))

    def hang(_uid: int) -> NoReturn:
        raise AssertionError("a directory service was asked")

    monkeypatch.setattr(pwd, "getpwuid", hang)
    assert {uid: sandbox._primary_group(uid) for uid in known} == known
    assert len(set(known.values())) > 1
    assert sandbox._primary_group(max(known) + 1) == 0
