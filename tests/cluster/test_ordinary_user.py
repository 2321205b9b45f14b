"""The embedded cluster's own tests once more, as a user without any privilege."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.needs("linux", "root"), pytest.mark.timeout(600)]

UID = "1001"
TESTS = Path(__file__).parents[1]
# env, because setpriv itself still holds its capabilities when it executes: it would reach what the user cannot.
AS_USER = ["setpriv", "--reuid", UID, "--regid", UID, "--clear-groups", "env"]


def _python() -> str:
    """An interpreter of our version that the user may execute."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, shutil.which(version, path="/usr/local/bin:/usr/bin"), "/usr/bin/python3"):
        if candidate and _usable(candidate):
            return candidate
    pytest.skip(f"no {version} here that user {UID} may execute")


def _usable(python: str) -> bool:
    same = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    return subprocess.run([*AS_USER, python, "-c", same], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    "file",
    [
        "cluster/test_node_host.py",
        "cluster/test_kubelet.py",
        "faults/test_node_host_death.py",
        "faults/test_run_ends.py::test_a_killed_run_leaves_nothing",
        "faults/test_lost.py::test_a_loss_is_an_error_of_that_test_alone",
    ],
)
def test_as_an_ordinary_user(file: str) -> None:
    if not shutil.which("setpriv"):
        pytest.skip("no setpriv: apt install util-linux")
    path = os.pathsep.join([str(TESTS.parent), *filter(None, sys.path)])
    with tempfile.TemporaryDirectory(prefix="netem-user-", dir="/tmp") as scratch:
        os.chown(scratch, int(UID), int(UID))
        env = {"PATH": os.environ["PATH"], "HOME": scratch, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        options = ["-q", "-p", "no:cacheprovider", "--basetemp", f"{scratch}/tests"]
        argv = [*AS_USER, _python(), "-m", "pytest", *options, str(TESTS / file)]
        ended = subprocess.run(argv, env=env, cwd=TESTS.parent, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    assert " passed" in ended.stdout
    assert "skipped" not in ended.stdout, ended.stdout[-2000:]
