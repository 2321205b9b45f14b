"""What the machine lacks: an error with the fix, or a skip for those who ask for one."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from nested import PYTEST

pytestmark = pytest.mark.needs("netns")

KERNEL = """
@pytest.mark.netem(delay="1ms", pods="app=ann", inert="ignore")
def test_marker(people):
    raise AssertionError("must not run")
"""
BLOCK = """
def test_block(people, netem):
    with netem.impair(delay="1ms", pods="app=ann", engine="kernel"):
        raise AssertionError("must not run")
"""
USES = """
def test_uses(netem_cluster):
    raise AssertionError("must not run")

def test_does_not():
    pass
"""


@pytest.fixture
def without_netem() -> None:
    from pytest_k8s_netem.agent.capabilities import probe

    engine = probe().engine("kernel")
    if engine is not None and engine.available:
        pytest.skip("this kernel has netem: nothing is missing")


@pytest.mark.usefixtures("without_netem")
def test_an_engine_that_the_kernel_lacks_names_the_ways_out(suite):
    result = suite(KERNEL, "--netem-engine=kernel")
    result.assert_outcomes(errors=1)
    told = "*engine=kernel: not available*sch_netem is missing*modprobe*--netem-engine=userspace*--netem-guest*"
    result.stdout.fnmatch_lines([told])
    assert "Traceback" not in result.stdout.str()


@pytest.mark.usefixtures("without_netem")
def test_it_is_a_skip_for_those_who_ask(suite):
    suite(KERNEL + BLOCK, "--netem-missing=skip", "--netem-engine=kernel").assert_outcomes(skipped=2)
    suite(BLOCK).assert_outcomes(failed=1)


def refused(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run without privileges where no user namespace can be made (namespaces(7))."""
    pytester.makepyfile(USES)
    limited = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all "$@"'
    return pytester.run("unshare", "-Ur", "sh", "-c", limited, "sh", *PYTEST, *options)


@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv: install util-linux")
def test_a_machine_that_refuses_namespaces_is_told_the_ways_out(pytester):
    result = refused(pytester)
    result.assert_outcomes(passed=1, errors=1)
    _names_the_ways_out(result, "sudo sysctl -w user.max_user_namespaces=15000")
    assert "netem evidence" not in result.stdout.str(), "nothing had begun"


@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv: install util-linux")
def test_that_is_a_skip_for_those_who_ask(pytester):
    refused(pytester, "--netem-missing=skip").assert_outcomes(passed=1, skipped=1)


def as_user(pytester: pytest.Pytester, prepare: str, *command: str) -> pytest.RunResult:
    """Run as a user without any privilege; ``prepare`` is done as root of a user namespace around it."""
    line = f'{prepare}; exec unshare -U --map-user=1000 --map-group=1000 "$@"'
    return pytester.run("unshare", "-Urm", "sh", "-c", line, "sh", *command)


APPARMOR = (
    "mount -t tmpfs none /proc/sys/kernel; echo 1 > /proc/sys/kernel/apparmor_restrict_unprivileged_userns; "
    "chmod -R a+rX /proc/sys/kernel"
)
"""Ubuntu's setting, as a program sees it; the refusal itself is in :mod:`denied`."""


@pytest.mark.parametrize(
    ("refusal", "step"),
    [
        (("unshare", "EPERM"), "unshare: EPERM"),
        (("mount", "EACCES"), "mount /: EACCES"),
        (("ioctl:0x8914", "EPERM"), "set lo up: EPERM"),
    ],
    ids=["no namespace", "no right to mount in it", "no right to its network"],
)
def test_ubuntus_refusal_names_its_setting(pytester, refusal, step):
    """AppArmor refuses the namespace, or lets it be made and grants nothing in it."""
    pytester.makepyfile(USES)
    denied = (sys.executable, str(Path(__file__).with_name("denied.py")), *refusal)
    result = as_user(pytester, APPARMOR, *denied, *PYTEST)
    result.assert_outcomes(passed=1, errors=1)
    assert f"({step})" in result.stdout.str()
    _names_the_ways_out(result, "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0")


@pytest.mark.parametrize("root", ["", "/folder"], ids=["on a mount point", "in a folder"])
def test_a_chroot_is_refused(pytester, root):
    """What enters namespaces there comes out of it: pods would have the files of the machine around it."""
    pytester.makepyfile(USES)
    line = (
        f"mount -t tmpfs none /mnt; root=/mnt{root}; mkdir -p $root; "
        "find / -maxdepth 1 -type l -exec cp -P {} $root ';'; "
        "for name in $(find / -maxdepth 1 -mindepth 1 -type d ! -name mnt); do "
        "mkdir $root$name; mount --rbind $name $root$name; done; "
        """exec chroot $root sh -c 'cd "$0" && exec "$@"' "$PWD" "$@\""""
    )
    result = pytester.run("unshare", "-m" if os.geteuid() == 0 else "-Urm", "sh", "-c", line, "sh", *PYTEST)
    result.assert_outcomes(passed=1, errors=1)
    assert "cannot make its namespaces in a chroot (mount /: EINVAL); run outside of it" in result.stdout.str()


def _names_the_ways_out(result: pytest.RunResult, setting: str) -> None:
    text = result.stdout.str()
    assert "Traceback" not in text
    for words in (setting, "sudo -E $(which python) -m pytest", "pytest --netem-guest"):
        assert words in text


MARKED = """
import socket
import pytest

POD = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "command": ["sleep", "infinity"]}]}}

@pytest.fixture
def pods(netem_namespace):
    for name in ("ann", "bob"):
        netem_namespace.apply({**POD, "metadata": {"name": name, "labels": {"app": name}}})
    return {pod.name: pod for pod in netem_namespace.wait_ready()}

@pytest.mark.netem(delay="200ms", pods="app=ann", to="app=bob")
def test_marked(pods):
    with pods["ann"].socket(type=socket.SOCK_DGRAM) as here, pods["bob"].socket(type=socket.SOCK_DGRAM) as there:
        there.bind(("", 4000))
        there.settimeout(0.15)
        here.sendto(b"x", (pods["bob"].ip, 4000))
        with pytest.raises(TimeoutError):
            there.recv(16)
        there.settimeout(20)
        assert there.recv(16) == b"x"
    assert pods["ann"].exec(["cat", "/proc/self/comm"]).stdout == "cat\\n"
"""
MASKED = "mount -t tmpfs none /proc/fs"
"""As container runtimes hide what is the machine's: no user namespace inside may mount a /proc of its own then."""


def test_a_container_that_masks_proc(pytester):
    """Neither the node host nor a pod has a /proc of its own there; all else is as ever."""
    pytester.makepyfile(MARKED)
    mount = as_user(pytester, MASKED, "unshare", "-Urmpf", "mount", "-t", "proc", "proc", "/proc")
    assert mount.ret == 32, "this kernel lets /proc be mounted all the same"
    as_user(pytester, MASKED, *PYTEST).assert_outcomes(passed=1)
