"""Commands of the embedded cluster that are started as another user, which takes a process of ours for a moment."""

from __future__ import annotations

import os
import signal
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
        (
            999,
            None,
            "container main of pod/web did not start as user 999 within 0.2 s; .*`getent passwd 999`.*runAsGroup",
        ),
        (999, 999, "container main of pod/web did not start as user 999 within 0.2 s$"),
        (None, 999, "container main of pod/web did not start as group 999 within 0.2 s$"),
    ],
)
def test_a_user_who_cannot_be_looked_up_is_named(
    monkeypatch: pytest.MonkeyPatch, uid: int | None, gid: int | None, told: str
) -> None:
    """The user database of a machine may be a directory service that does not answer."""
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
