"""What is told to install is what this system has: Debian, Ubuntu, Fedora and its kin."""

from __future__ import annotations

import os
import platform
import shutil
import sys

import pytest

from pytest_k8s_netem.agent.capabilities import judged
from pytest_k8s_netem.guest.needs import requirements

DEBIAN = {"ID": "debian", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"}
KALI = {"ID": "kali", "ID_LIKE": "debian"}
UBUNTU = {"ID": "ubuntu", "ID_LIKE": "debian", "PRETTY_NAME": "Ubuntu 24.04 LTS"}
MINT = {"ID": "linuxmint", "ID_LIKE": "ubuntu debian", "PRETTY_NAME": "Linux Mint 22"}
FEDORA = {"ID": "fedora", "PRETTY_NAME": "Fedora Linux 43 (Server Edition)"}
ROCKY = {"ID": "rocky", "ID_LIKE": "rhel centos fedora", "PRETTY_NAME": "Rocky Linux 9.4 (Blue Onyx)"}


@pytest.mark.needs("linux")
@pytest.mark.parametrize(
    ("release", "package"),
    [
        ("6.8.0-45-generic", " (after apt install linux-modules-extra-6.8.0-45-generic)"),
        ("6.11.0-1018-azure", " (after apt install linux-modules-extra-6.11.0-1018-azure)"),
        ("6.17.4-300.fc43.x86_64", " (after dnf install kernel-modules-extra-6.17.4-300.fc43.x86_64)"),
        ("5.14.0-427.el9_4.x86_64", " (after dnf install kernel-modules-extra-5.14.0-427.el9_4.x86_64)"),
        ("5.15.0-206.153.7.el8uek.x86_64", ""),
        ("6.1.0-18-amd64", ""),
        ("6.18.44-fc-v669", ""),
        ("5.15.167.4-microsoft-standard-WSL2", ""),
    ],
)
def test_the_package_of_netem_is_that_of_the_kernel(
    monkeypatch: pytest.MonkeyPatch, release: str, package: str
) -> None:
    """Not of the system around us, which in a container is another's."""
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "here", release, "#1", "x86_64")))
    engine = judged({"netem": "no such qdisc"}).engine("kernel")
    assert engine is not None
    assert f"sch_netem is missing (no such qdisc): modprobe sch_netem{package}, use --netem-" in engine.missing


@pytest.mark.parametrize(
    ("system", "fix"),
    [
        (DEBIAN, "; sudo apt-get install user-mode-linux kmod"),
        (KALI, "; sudo apt-get install user-mode-linux kmod"),
        (
            UBUNTU,
            "; Ubuntu 24.04 LTS does not package it: download Debian's package and run sudo apt-get install ./user-",
        ),
        (MINT, "; Linux Mint 22 does not package it: download Debian's package and run sudo apt-get install ./user-"),
        (
            FEDORA,
            "; Fedora Linux 43 (Server Edition) may not package it, Debian does: run the tests in a Debian container",
        ),
        (ROCKY, "; Rocky Linux 9.4 (Blue Onyx) may not package it, Debian does: run the tests in a Debian container"),
        ({}, "; this system may not package it, Debian does: run the tests in a Debian container"),
    ],
)
def test_a_guest_is_to_be_had(monkeypatch: pytest.MonkeyPatch, system: dict[str, str], fix: str) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: system)
    monkeypatch.setattr(os.path, "exists", lambda _: True)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    [problem, *_] = requirements()
    assert fix in str(problem)
    assert "apt" in fix or "apt" not in str(problem)
