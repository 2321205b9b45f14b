"""What a test of this project may need of the machine, found by trying; a missing need is skipped or fails."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # import-mode=importlib leaves it alone

pytest_plugins = ["pytester", "engines"]


def _netns() -> str:
    """User namespaces or root: try what the embedded cluster does first."""
    flags = "-n" if os.geteuid() == 0 else "-Urn"
    tried = subprocess.run(["unshare", flags, "true"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"{tried.stderr.strip()} ({flags}); see docs/how-to/run-without-root.md"


def _netem() -> str:
    script = "ip link add n type veth 2>/dev/null; tc qdisc add dev lo root netem delay 1ms"
    flags = "-n" if os.geteuid() == 0 else "-Urn"
    tried = subprocess.run(["unshare", flags, "sh", "-c", script], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else "this kernel has no sch_netem; run the guest lane"


def _flower() -> str:
    from pytest_k8s_netem.agent.capabilities import probe

    return "" if "flower" in probe().classifiers else "this kernel has no cls_flower; run the guest lane"


def _program(name: str, debian: str, fedora: str) -> Callable[[], str]:
    """A program, and the packages that have it on Debian and Ubuntu, and on Fedora."""
    fix = f"apt install {debian}, or dnf install {fedora}"
    return lambda: "" if shutil.which(name) else f"no {name} on PATH: {fix}"


def _uml() -> str:
    from pytest_k8s_netem.guest.needs import requirements

    return "; ".join(map(str, requirements()))


def _docker() -> str:
    if not shutil.which("docker"):
        return "no docker on PATH: install Docker Engine"
    tried = subprocess.run(["docker", "version"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"docker version: {tried.stderr.strip()[-300:]}"


def _postgres() -> str:
    found = shutil.which("postgres") or any(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return "" if found else "no postgres: apt install postgresql, or dnf install postgresql-server"


def _kubernetes(*names: str) -> Callable[[], str]:
    def lacking() -> str:
        folder = Path(os.environ.get("KUBEBUILDER_ASSETS") or "/usr/local/kubebuilder/bin")
        missing = [name for name in names if not (os.access(folder / name, os.X_OK) or shutil.which(name))]
        return f"no {' and '.join(missing)}: set KUBEBUILDER_ASSETS to their folder" if missing else ""

    return lacking


def _kind() -> str:
    missing = [name for name in ("docker", "kind") if not shutil.which(name)]
    return f"no {' and '.join(missing)} on PATH" if missing else ""


def _helm() -> str:
    return "" if shutil.which("helm") else "no helm on PATH: go install helm.sh/helm/v3/cmd/helm@latest"


NEEDS: dict[str, Callable[[], str]] = {
    "linux": lambda: "" if sys.platform == "linux" else f"this is {sys.platform}",
    "root": lambda: "" if os.geteuid() == 0 else "not root; sudo .venv/bin/tox run does it",
    "netns": _netns,
    "netem": _netem,
    "flower": _flower,
    "tun": lambda: "" if os.access("/dev/net/tun", os.R_OK | os.W_OK) else "no /dev/net/tun: modprobe tun",
    "uml": _uml,
    "redis": _program("redis-server", "redis-server", "valkey-compat-redis"),
    "postgres": _postgres,
    "apiserver": _kubernetes("etcd", "kube-apiserver"),
    "kubectl": _kubernetes("kubectl"),
    "kind": _kind,
    "docker": _docker,
    "helm": _helm,
    "tc": _program("tc", "iproute2", "iproute-tc"),
    "ping": _program("ping", "iputils-ping", "iputils"),
    "iperf3": _program("iperf3", "iperf3", "iperf3"),
}


@functools.cache
def _missing(need: str) -> str:
    return NEEDS[need]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail where ``--netem-missing=fail``, a test whose ``needs`` are not met."""
    for mark in item.iter_markers("needs"):
        for need in mark.args:
            if why := _missing(need):
                # A need that another lane meets (netem: the guest) may be missing here, even where nothing else may.
                elsewhere = need in os.environ.get("NETEM_TESTS_ELSEWHERE", "").split(",")
                if os.environ.get("NETEM_TESTS_MISSING") == "fail" and not elsewhere:
                    pytest.fail(f"needs {need}: {why}", pytrace=False)
                pytest.skip(f"needs {need}: {why}")
