"""What a guest needs of the machine, and what to do about what is missing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.model.problem import Problem

KERNEL = "linux.uml"
"""The kernel as a program, by the name that Debian's package gives it."""
MODULES = Path("/usr/lib/uml/modules")
"""Where that package keeps the kernel's modules, a folder for each release."""
DEFAULT_MEMORY = "1G"
"""The guest's memory; what it does not touch costs nothing."""

OWN_PLACES = ("/dev/shm", "/proc", "/run", "/sys")
"""Folders that are the guest's own: what is there outside is not seen in it, and what it writes there is lost."""

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def requirements(memory: str = DEFAULT_MEMORY) -> list[Problem]:
    """All that is missing for a guest of that much memory; empty when it can start.

    :raises ConfigError: the memory is not a size.
    """
    size = memory_bytes(memory)
    if sys.platform != "linux" or platform.machine() != "x86_64":
        here = f"{platform.system()} on {platform.machine()}"
        return [
            _problem("user-mode-linux runs on Linux on x86_64", here, "use a virtual machine or a Debian container")
        ]
    return [*_kernel_problems(), *_memory_problems(size)]


def memory_bytes(memory: str) -> int:
    """``512M``, ``1G`` as a number of bytes.

    :raises ConfigError: it is not a size, or less than the 128M that a kernel, Python and pytest need.
    """
    found = re.fullmatch(r"(\d+)([KMG])", memory.strip().upper())
    size = int(found[1]) * _UNITS[found[2]] if found else 0
    if size < 128 << 20:
        raise ConfigError(problems=[Problem("guest memory", memory, "no size of at least 128M", "write 512M or 1G")])
    return size


def kernel_release() -> str:
    """The release of the installed user-mode-linux, which names the folder of its modules; ``""`` without one."""
    try:
        return subprocess.run([KERNEL, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def modules_folder() -> Path:
    """Where the modules of the installed kernel are."""
    return MODULES / kernel_release()


def own_place(path: str) -> str:
    """The guest's own folder in which this path lies (symbolic links followed), ``""`` for a path of the host."""
    real = os.path.realpath(path)
    return next((place for place in OWN_PLACES if real == place or real.startswith(f"{place}/")), "")


def memory_folder(size: int) -> Path | None:
    """A folder that can hold the guest's memory: room for all of it, writable, programs may be mapped from it.

    A container's /dev/shm often is none: 64 MB, or mounted noexec; a guest in it dies with SIGBUS, or at its start.
    """
    candidates = ["/dev/shm", os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp", os.getcwd()]
    return next((Path(name) for name in candidates if name and _holds(name, size)), None)


def _holds(name: str, size: int) -> bool:
    try:
        state = os.statvfs(name)
    except OSError:
        return False
    roomy = state.f_bavail * state.f_frsize > size
    return roomy and not state.f_flag & os.ST_NOEXEC and os.access(name, os.W_OK | os.X_OK)


def _kernel_problems() -> list[Problem]:
    if not shutil.which(KERNEL):
        return [_problem("user-mode-linux is not installed", f"no {KERNEL} on PATH", _install())]
    problems = []
    if not (modules_folder() / "modules.dep").exists():
        problems.append(_problem("the guest kernel's modules are missing", str(modules_folder()), _install()))
    if not shutil.which("modprobe", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        problems.append(
            _problem("the guest loads its modules with modprobe", "not on PATH", "install the package kmod")
        )
    return problems


def _memory_problems(size: int) -> list[Problem]:
    if memory_folder(size):
        return []
    why = f"no folder has {size >> 20} MB for the guest's memory and allows programs (not noexec)"
    return [_problem(why, "looked in /dev/shm, TMPDIR, /tmp, /var/tmp", "set TMPDIR to one that has")]


def _problem(why: str, seen: str, fix: str) -> Problem:
    return Problem("--netem-guest", "", f"{why} ({seen})", fix)


def _install() -> str:
    system = platform.freedesktop_os_release() if os.path.exists("/etc/os-release") else {}
    likeness = {system.get("ID", ""), *system.get("ID_LIKE", "").split()}
    name = system.get("PRETTY_NAME", "this system")
    if "ubuntu" in likeness:
        return (
            f"{name} does not package it: download Debian's package and run "
            f"sudo apt-get install ./user-mode-linux_*_amd64.deb, or {_DEBIAN}"
        )
    if "debian" in likeness:
        return "sudo apt-get install user-mode-linux kmod"
    return f"{name} may not package it, Debian does: {_DEBIAN}"


_DEBIAN = "run the tests in a Debian container (no privilege is needed there)"
