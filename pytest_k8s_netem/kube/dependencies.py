"""Packages of others for the controller's image, resolved on this machine: ``docker build`` may reach no index.

The user's own configuration of pip counts: index, proxy, certificates. What was fetched is kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

from pytest_k8s_netem.errors import ProviderError
from pytest_k8s_netem.kube.programs import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REQUIREMENTS = (
    "kubernetes>=36",
    "PyYAML>=6.0.2",
    "tenacity>=9",
    "websockets>=15",
    "aiohttp>=3.11",
    "cryptography>=42",
)
"""What the controller imports, as pyproject.toml has it (a test compares them)."""
PYTHON = "3.11"
"""Of the images, see controller.Dockerfile."""
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Docker's names of machines, and Python's."""
LIBRARIES = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
"""Names of the C libraries that Debian bookworm's (glibc 2.36) can stand in for."""


async def installed(requirements: Sequence[str]) -> Path:
    """A folder with these packages and what they need, for the machine that Docker's daemon runs on.

    :raises ProviderError: if Docker does not answer, or pip is missing or fails.
    """
    machine = (await run("docker", "version", "--format", "{{.Server.Arch}}")).strip()
    if machine not in MACHINES:
        raise ProviderError(f"there is no controller image for {machine}, only for {', '.join(MACHINES)}")
    text = "\n".join([PYTHON, machine, *LIBRARIES, *requirements])
    folder = cache() / f"dependencies-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if not folder.is_dir():
        await _install(requirements, MACHINES[machine], folder)
    return folder


def cache(environ: Mapping[str, str] = os.environ) -> Path:
    """The project's folder in the user's cache (XDG base directory specification)."""
    base = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or Path.home()) / ".cache"
    return Path(base) / "pytest-k8s-netem"


async def _install(requirements: Sequence[str], machine: str, folder: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        raise ProviderError(
            f"there is no pip beside {sys.executable} to fetch what the controller's image needs: "
            "python -m ensurepip, or name a ready image with --image"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=folder.name) as made:
        platforms = [word for library in LIBRARIES for word in ("--platform", f"{library}_{machine}")]
        options = ["--python-version", PYTHON, "--only-binary=:all:", "--no-compile", "--quiet", *platforms]
        await run(sys.executable, "-m", "pip", "install", "--target", f"{made}/new", *options, *requirements)
        _publish(Path(made, "new"), folder)


def _publish(new: Path, folder: Path) -> None:
    """Whoever comes second finds the first one's."""
    shutil.rmtree(new / "bin", ignore_errors=True)  # commands of the packages; their first line names this machine
    try:
        new.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
