"""Whatever is killed, however: no process, link or file of an embedded cluster is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from processes import PATIENCE, Living, children, descendants, living, still, until

pytestmark = pytest.mark.needs("linux", "netns")


@dataclass
class Victim:
    """A process with an embedded cluster, seen from outside."""

    process: subprocess.Popen[str]
    parent: int
    stub: int
    first: int
    """pid 1 of the cluster's pid namespace, as we see it."""
    inside: Living = field(default_factory=dict)
    """Every process of the cluster."""


def _begin(directory: Path, cleanup: ExitStack, *how: str) -> Victim:
    argv = [sys.executable, str(Path(__file__).with_name("cluster_victim.py")), str(directory), *how]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=env)
    cleanup.callback(process.wait)
    cleanup.callback(process.stdout.close if process.stdout else lambda: None)
    cleanup.callback(process.kill)
    assert process.stdout
    said = json.loads(process.stdout.readline())
    inside = [said["stub"], *descendants(said["stub"])]
    first = next(iter(children(said["stub"])), 0)
    return Victim(process, said["parent"], said["stub"], first, living(inside))


def _mark(victim: Victim, cleanup: ExitStack) -> Callable[[], bool]:
    """Put one end of a link into a pod, the other into a namespace of ours; whether ours is still there.

    The kernel removes it exactly when the pod's namespace ends.
    """
    pod = next(pid for pid in reversed(victim.inside) if _network(pid) != _network(victim.first))
    user = [] if os.geteuid() == 0 else ["-U", "--preserve-credentials"]
    holder = subprocess.Popen(
        ["nsenter", "-t", str(pod), *user, "unshare", "-n", "sh", "-c", "echo; exec sleep 1000"],
        stdout=subprocess.PIPE,
    )
    cleanup.callback(holder.wait)
    cleanup.callback(holder.kill)
    assert holder.stdout
    with holder.stdout:
        holder.stdout.readline()
    enter = ["nsenter", "-t", str(holder.pid), *user, "-n", "ip", "link"]
    subprocess.run([*enter, "add", "mark", "type", "veth", "peer", "name", "other", "netns", str(pod)], check=True)
    return lambda: subprocess.run([*enter, "show", "mark"], capture_output=True, check=False).returncode == 0


def _network(pid: int) -> int:
    return os.stat(f"/proc/{pid}/ns/net").st_ino


def _all_gone(victim: Victim) -> None:
    until(lambda: not still(victim.inside), lambda: f"still there: {still(victim.inside)}")


STOP, KILL = signal.SIGSTOP, signal.SIGKILL
DEATHS = {
    "the test process": [("parent", KILL)],
    "the process that waits": [("stub", KILL)],
    "pid 1": [("first", KILL)],
    "the test process, the others stopped": [("stub", STOP), ("first", STOP), ("parent", KILL)],
    "pid 1, stopped": [("first", STOP), ("first", KILL)],
    "the test process, by SIGTERM": [("parent", signal.SIGTERM)],
}


def _die(victim: Victim, death: str) -> None:
    for who, number in DEATHS[death]:
        os.kill(getattr(victim, who), number)


@pytest.mark.parametrize("death", DEATHS)
def test_nothing_is_left_whoever_dies(death: str, tmp_path: Path, cleanup: ExitStack) -> None:
    victim = _begin(tmp_path, cleanup)
    assert len(victim.inside) >= 2 + 4 * 3
    there = _mark(victim, cleanup)
    assert there()
    before = _files()
    _die(victim, death)
    _all_gone(victim)
    until(lambda: not there(), lambda: "the pod's link is still there")
    assert _files() <= before
    assert {path.name for path in tmp_path.iterdir()} <= {"node-host.log"}


def _files() -> set[str]:
    """What a cluster might leave on the machine: mounts and named namespaces."""
    named = Path("/run/netns")
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return {*mounts, *(os.listdir(named) if named.exists() else ())}


@pytest.mark.parametrize("death", ["the process that waits", "pid 1"])
def test_the_test_process_learns_of_the_loss(death: str, tmp_path: Path, cleanup: ExitStack) -> None:
    victim = _begin(tmp_path, cleanup)
    _die(victim, death)
    assert victim.process.stdout
    assert victim.process.stdout.readline() == "lost\n"
    assert victim.process.wait(PATIENCE) == 0


def test_a_cluster_dies_with_the_thread_that_started_it(tmp_path: Path, cleanup: ExitStack) -> None:
    victim = _begin(tmp_path, cleanup, "thread")
    _all_gone(victim)
    assert victim.process.poll() is None


def test_a_forked_child_of_the_test_process_keeps_nothing_alive(tmp_path: Path, cleanup: ExitStack) -> None:
    """A child that holds a copy of the control line must not keep the cluster from ending with its parent."""
    script = """
import asyncio, os, pathlib, sys, time
sys.path.insert(0, sys.argv[2])
from cluster_victim import bring_up
import pytest_k8s_netem.local.host as room
room.end = lambda child: child.wait(15)  # no SIGKILL after a while: the end of the line must do
async def main():
    host = await bring_up(pathlib.Path(sys.argv[1]))
    if os.fork() == 0:
        os.close(1)
        time.sleep(1000)
    sys.stdin.read()
    await host.close()
    os._exit(0)
asyncio.run(main())
"""
    argv = [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, start_new_session=True
    )
    cleanup.callback(process.wait)
    cleanup.callback(os.killpg, process.pid, signal.SIGKILL)
    assert process.stdin
    assert process.stdout
    with process.stdin, process.stdout:
        said = json.loads(process.stdout.readline())
        inside = living([said["stub"], *descendants(said["stub"])])
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
    _all_gone(Victim(process, said["parent"], said["stub"], 0, inside))
