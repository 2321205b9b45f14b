"""A thousand pods and twenty profiles on a real API server, with the agents' real program but for its kernel."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from figures import say

from pytest_k8s_netem.api.protocol import NODES, PODS, TRAFFICPROFILES
from pytest_k8s_netem.controller.waiting import verified
from pytest_k8s_netem.kube.definition import define

sys.path.insert(0, str(Path(__file__).parents[1] / "apiserver"))

from control_plane import Lab, control_plane

pytestmark = pytest.mark.needs("apiserver")
PODS_IN_ALL, PROFILES, PROCESSES = 1000, 20, 10
HERE = Path(__file__).parent


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with control_plane(tmp_path / "plane") as lab:
        lab.call(define(lab.api))
        yield lab


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "crowd"
    folder.mkdir()
    share = PODS_IN_ALL // PROCESSES
    argv = [sys.executable, str(HERE / "crowd.py"), str(folder)]
    agents = [subprocess.Popen([*argv, str(first), str(share)]) for first in range(0, PODS_IN_ALL, share)]
    while len(list(folder.glob("ready-*"))) < PROCESSES:
        assert all(agent.poll() is None for agent in agents)
        time.sleep(0.05)
    yield folder
    for agent in agents:
        agent.kill()
        agent.wait()


class Controller:
    """The controller's process, and how many pods it has told a plan so far."""

    def __init__(self, argv: list[str]) -> None:
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self.told = 0
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._ready.wait(60)

    def end(self) -> None:
        with self.process:
            self.process.kill()
            self._reader.join(10)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.told += int(line) if line != "ready\n" else 0
                self._changed.notify_all()
            self._ready.set()

    def until(self, told: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.told >= told, 120), f"{self.told} of {told}"

    def memory(self) -> int:
        """Peak resident MiB (proc(5), VmHWM)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) >> 10 for line in status.splitlines() if line.startswith("VmHWM"))


@pytest.fixture
def controller(lab: Lab, crowd: Path) -> Iterator[Controller]:
    made = Controller([sys.executable, str(HERE / "crowd_controller.py"), str(lab.plane.kubeconfig), str(crowd)])
    yield made
    made.end()


def test_a_change_reaches_a_thousand_pods(lab: Lab, controller: Controller) -> None:
    lab.call(populate(lab))
    for number in range(PROFILES):
        lab.call(lab.api.create(TRAFFICPROFILES, profile(number)))
    lab.call(all_verified(lab, 1))
    say(f"{PODS_IN_ALL} pods, {PROFILES} profiles: controller {controller.memory()} MiB")
    for generation in (2, 3, 4):
        before, start = controller.told, time.perf_counter()
        change = {"spec": {"impairment": {"delay": f"{200 + generation}ms"}}}
        lab.call(lab.api.patch(TRAFFICPROFILES, "all", change))
        controller.until(before + PODS_IN_ALL)
        reached = time.perf_counter() - start
        lab.call(verified(lab.api, "all", generation, 55))
        say(f"one change for all: in force {reached:.2f} s, verified {time.perf_counter() - start:.2f} s")
    before, start = controller.told, time.perf_counter()
    lab.call(lab.api.patch(PODS, "pod-7", {"metadata": {"labels": {"app": "app3"}}}, "default"))
    wanted = 1 + peers_of("app3") + peers_of("app7")
    controller.until(before + wanted)
    say(
        f"one pod's label: in force {time.perf_counter() - start:.2f} s, in {wanted} pods, of which it is a peer or was"
    )
    say(f"controller {controller.memory()} MiB at most")
    assert controller.told == before + wanted, "a changed pod costs work for itself, and for those whose peer it is"


def peers_of(app: str) -> int:
    """Pods whose profile names this app's pods as peers."""
    number = int(app.removeprefix("app")) - 1
    return sum(one % (PROFILES - 1) == number for one in range(PODS_IN_ALL))


async def populate(lab: Lab) -> None:
    """Pods as a kubelet leaves them, sixteen requests at once."""
    await lab.api.create(NODES, {"metadata": {"name": "node"}})
    gate = asyncio.Semaphore(16)

    async def one(number: int) -> None:
        async with gate:
            await lab.api.create(PODS, pod(number), "default")
            address = f"10.1.{number // 250}.{number % 250 + 1}"
            ready = [{"type": "Ready", "status": "True"}]
            status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": ready}
            await lab.api.patch(PODS, f"pod-{number}", {"status": status}, "default", subresource="status")

    await asyncio.gather(*(one(number) for number in range(PODS_IN_ALL)))


def pod(number: int) -> dict[str, Any]:
    labels = {"app": f"app{number % (PROFILES - 1)}"}
    containers = [{"name": "main", "image": "none"}]
    return {
        "metadata": {"name": f"pod-{number}", "labels": labels},
        "spec": {"nodeName": "node", "containers": containers},
    }


def profile(number: int) -> dict[str, Any]:
    """The last takes every pod, the others one app's packets to the next; UDP, which needs no probe."""
    last = number == PROFILES - 1
    name, labels = ("all", {}) if last else (f"p{number}", {"app": f"app{number}"})
    peers = [] if last else [{"podSelector": {"matchLabels": {"app": f"app{(number + 1) % (PROFILES - 1)}"}}}]
    rule = {"ports": [{"protocol": "UDP", "port": 53}], **({"to": peers} if peers else {})}
    spec = {"podSelector": {"matchLabels": labels}, "egress": [rule], "impairment": {"delay": f"{number + 1}ms"}}
    return {"metadata": {"name": name}, "spec": spec}


async def all_verified(lab: Lab, generation: int) -> None:
    names = ["all", *(f"p{number}" for number in range(PROFILES - 1))]
    await asyncio.gather(*(verified(lab.api, name, generation, 55) for name in names))
