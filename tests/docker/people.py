"""Who runs a suite: root, or a user who may use Docker's socket and has no other privilege."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import pytest_k8s_netem

UID = 1001
SOCKET = Path("/var/run/docker.sock")
LARGE = ("__pycache__", "kubernetes", "mypy*", "ruff*", "pip", "pydantic*")
"""What a copy of the installed packages leaves out: no test here imports it."""


@dataclass(frozen=True)
class Who:
    """How their processes are started."""

    name: str
    python: str
    become: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def own(self, path: Path) -> None:
        """Give a folder to them."""
        if self.become:
            for each in (path, *path.rglob("*")):
                os.chown(each, UID, UID)


ROOT = Who("root", sys.executable)


def ordinary(folder: Path) -> Who:
    """A user with the group of Docker's socket; the installed packages are copied: ours may be closed to others."""
    if not shutil.which("setpriv"):
        pytest.skip("no setpriv: install util-linux")
    become = _become(str(SOCKET.stat().st_gid))
    leave_out = shutil.ignore_patterns(*LARGE)
    for packages in (entry for entry in sys.path if entry.endswith("site-packages")):
        shutil.copytree(packages, folder / "packages", ignore=leave_out, dirs_exist_ok=True)
    own = Path(pytest_k8s_netem.__file__).parent
    shutil.copytree(own, folder / "packages" / own.name, ignore=leave_out, dirs_exist_ok=True)
    folder.chmod(0o755)
    return Who("user", _python(become), become, {"PYTHONPATH": str(folder / "packages")})


def outsider(user: Who) -> Who:
    """The same user without that group."""
    return Who("outsider", user.python, _become(str(UID)), user.environment)


def _become(group: str) -> tuple[str, ...]:
    # env, because setpriv itself still holds its capabilities when it executes: it would reach what the user cannot.
    ids = ("--reuid", str(UID), "--regid", str(UID), "--groups", group)
    return ("setpriv", *ids, "--bounding-set=-all", "--inh-caps=-all", "env")


def _python(become: tuple[str, ...]) -> str:
    """An interpreter of our version that the user may execute."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, shutil.which(version, path="/usr/local/bin:/usr/bin"), "/usr/bin/python3"):
        same = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
        if (
            candidate
            and subprocess.run([*become, candidate, "-c", same], capture_output=True, check=False).returncode == 0
        ):
            return candidate
    pytest.skip(f"no {version} here that user {UID} may execute")
