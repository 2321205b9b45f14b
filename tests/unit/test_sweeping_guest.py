"""Folders of guests: those that nobody holds go, and no others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_k8s_netem.guest.command import INSIDE
from pytest_k8s_netem.guest.machine import FOLDER
from pytest_k8s_netem.guest.sweeping import UNLOCKED, folders
from pytest_k8s_netem.run.directory import LOCK, hold
from pytest_k8s_netem.run.sweep import sweep

pytestmark = pytest.mark.needs("linux")


def folder(base: Path, name: str, age: float = 0.0) -> Path:
    made = base / f"{FOLDER}{name}"
    made.mkdir()
    (made / "console").write_text("the kernel's last words")
    os.utime(made, (time.time() - age,) * 2)
    return made


def test_what_nobody_holds_goes(tmp_path: Path) -> None:
    living, dead = folder(tmp_path, "living"), folder(tmp_path, "dead", age=10)
    with subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import sys; from pathlib import Path; from pytest_k8s_netem.run.directory import hold; "
            "held = [hold(Path(name)) for name in sys.argv[1:]]; print('held', flush=True); sys.stdin.read()",
            *(str(living), str(dead)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert sweep([folders(tmp_path)]).removed == ()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with hold(living) or pytest.fail("somebody else holds it"):
        swept = sweep([folders(tmp_path)])
        assert (swept.removed, swept.left) == ((f"folder {dead} of a guest",), ())
        assert (living / LOCK).exists()
    assert not dead.exists()


def test_what_has_no_lock_is_in_the_making_for_a_day(tmp_path: Path) -> None:
    young, old = folder(tmp_path, "young", age=UNLOCKED - 60), folder(tmp_path, "old", age=UNLOCKED + 60)
    assert sweep([folders(tmp_path)]).removed == (f"folder {old} of a guest",)
    assert young.exists()


def test_what_is_no_folder_of_a_guest_stays(tmp_path: Path) -> None:
    target = tmp_path / "somebodys"
    target.mkdir()
    (tmp_path / f"{FOLDER}link").symlink_to(target)
    (tmp_path / f"{FOLDER}file").touch()
    folder(tmp_path, "old", age=UNLOCKED + 60).rename(tmp_path / "netem-evidence-0")
    before = sorted(tmp_path.iterdir())
    assert sweep([folders(tmp_path)]) == sweep([])
    assert sorted(tmp_path.iterdir()) == before


def test_in_a_guest_nothing_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder is seen there, and that somebody holds it is not."""
    dead = folder(tmp_path, "dead", age=UNLOCKED + 60)
    monkeypatch.setenv(INSIDE, "1")
    assert sweep([folders(tmp_path)]) == sweep([])
    assert dead.exists()
