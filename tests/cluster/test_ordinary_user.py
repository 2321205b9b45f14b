"""The embedded cluster's own tests once more, as a user without any privilege."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from nested import OPTIONS

import pytest_k8s_netem

pytestmark = [pytest.mark.needs("linux", "root"), pytest.mark.timeout(600)]

UID = "1001"
TESTS = Path(__file__).parents[1]
# env, because setpriv itself still holds its capabilities when it executes: it would reach what the user cannot.
LARGE = ("__pycache__", "kubernetes", "mypy*", "ruff*", "pip", "pydantic*")
"""What a copy of the installed packages leaves out: no test here imports it."""
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


@pytest.fixture(scope="module")
def everyone() -> Iterator[Path]:
    """A folder of that user's with the tests and the installed packages: ours may be closed to others."""
    own, leave_out = Path(pytest_k8s_netem.__file__).parent, shutil.ignore_patterns(*LARGE)
    with tempfile.TemporaryDirectory(prefix="netem-user-", dir="/tmp") as scratch:
        folder = Path(scratch)
        for packages in (entry for entry in sys.path if entry.endswith("site-packages")):
            shutil.copytree(packages, folder / "packages", ignore=leave_out, dirs_exist_ok=True)
        shutil.copytree(own, folder / "packages" / own.name, ignore=leave_out, dirs_exist_ok=True)
        shutil.copytree(TESTS, folder / "tests", ignore=leave_out)
        shutil.copy(TESTS.parent / "pyproject.toml", folder)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, int(UID), int(UID), follow_symlinks=False)
        yield folder


@pytest.mark.parametrize(
    "file",
    [
        "cluster/test_node_host.py",
        "cluster/test_kubelet.py",
        "faults/test_node_host_death.py",
        "faults/test_run_ends.py::test_a_killed_run_leaves_nothing",
        "faults/test_lost.py::test_a_lost_agent_is_an_error_of_that_test_alone",
        "faults/test_lost.py::test_a_lost_worker_is_an_error_of_that_test_alone",
    ],
)
def test_as_an_ordinary_user(everyone: Path, file: str) -> None:
    if not shutil.which("setpriv"):
        pytest.skip("no setpriv: install util-linux")
    home = everyone / "home"
    home.mkdir(exist_ok=True)
    os.chown(home, int(UID), int(UID))
    path = os.pathsep.join([str(everyone), str(everyone / "packages")])
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    # The kernel's engine is one more reason for a skip, and this user's rights are no question of engines.
    options = ["-q", "-k", "not kernel", "--basetemp", str(home / "tests")]
    argv = [*AS_USER, _python(), "-m", "pytest", *OPTIONS, *options, str(everyone / "tests" / file)]
    ended = subprocess.run(argv, env=env, cwd=everyone, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    assert " passed" in ended.stdout
    assert "skipped" not in ended.stdout, ended.stdout[-2000:]
