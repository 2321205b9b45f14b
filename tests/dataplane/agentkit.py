"""A real agent beside real namespaces: started as the node host starts it, spoken to as the controller does."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from network_state import network_state

import pytest_k8s_netem
from pytest_k8s_netem.model.frames import Decoder, encode
from pytest_k8s_netem.model.observed import Observed
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.plan import Plan
from pytest_k8s_netem.model.wire import OBSERVED, plan_codec

PROGRAM = Path(pytest_k8s_netem.__file__).parent / "agent" / "__main__.py"
"""Of the package that is tested: what is installed, not what lies beside these tests."""
PATIENCE = 30.0
"""s: no answer within it fails a test; nothing is asserted about how much sooner it comes."""


def alone(folder: Path) -> Path:
    """A copy of the program as it ships: nothing else of ours, and no folder above it that its user may not enter.

    In a guest, root without capabilities cannot read a home that only its owner can.
    """
    source, copy = PROGRAM.parents[1], folder / "pytest_k8s_netem"
    copy.mkdir()
    (copy / "__init__.py").touch()
    shutil.copy(source / "errors.py", copy)
    for room in ("agent", "model"):
        shutil.copytree(source / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    return copy / "agent" / "__main__.py"


def wait_for(what: str, condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)
    return found


class Namespace:
    """A network namespace that lives as long as a sleeping process in it."""

    def __init__(self) -> None:
        # Without accept_dad=0 a link-local address changes by itself for a second.
        begin = "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; ip link set lo up; exec sleep 600"
        self.process = subprocess.Popen(["unshare", "--net", "--", "sh", "-c", begin])
        own = os.readlink("/proc/self/ns/net")
        wait_for("a namespace", lambda: self._link() not in (own, None))

    def _link(self) -> str | None:
        try:
            comm = Path(f"/proc/{self.process.pid}/comm").read_text().strip()
            return os.readlink(f"/proc/{self.process.pid}/ns/net") if comm == "sleep" else None
        except OSError:
            return None

    def open(self) -> int:
        return os.open(f"/proc/{self.process.pid}/ns/net", os.O_RDONLY)

    def enter(self, *argv: str) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.process.pid}/ns/net", "--", *argv]

    def run(self, *argv: str, check: bool = True) -> str:
        return subprocess.run(self.enter(*argv), check=check, capture_output=True, text=True).stdout

    def sh(self, line: str) -> str:
        return self.run(*line.split())

    def ip(self, *lines: str) -> None:
        """Commands of ``ip``, by one process: in a guest its start takes longest."""
        subprocess.run(self.enter("ip", "-batch", "-"), check=True, input="\n".join(lines), text=True)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def state(self) -> dict[str, Any]:
        """All that an impairment could touch here."""
        return network_state(partial(self.run, check=False))

    def ping(self, address: str, count: int = 5, *more: str) -> tuple[int, list[float]]:
        """(answers, RTTs in ms) as the system's own ping sees them."""
        text = self.run("ping", "-n", "-i", "0.05", "-W", "1", "-c", str(count), *more, address, check=False)
        rtts = [float(rtt) for rtt in re.findall(r"time=([\d.]+) ms", text)]
        return len(rtts), rtts


@contextmanager
def pod_and_peer() -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces with a wire: the pod's eth0 is 10.9.0.1 and fd09::1, the peer's 10.9.0.2 and fd09::2."""
    pod, peer = Namespace(), Namespace()
    try:
        pod.ip(
            "link add eth0 index 21 type veth peer name far0",
            f"link set far0 netns {peer.process.pid} name eth0",
        )
        for number, space in enumerate((pod, peer), 1):
            space.ip(
                f"addr add 10.9.0.{number}/24 dev eth0",
                f"addr add fd09::{number}/64 dev eth0 nodad",
                "link set eth0 up",
            )
        for address in ("10.9.0.2", "fd09::2"):
            wait_for("a path", lambda address=address: pod.ping(address, 1)[0])
        yield pod, peer
    finally:
        pod.close()
        peer.close()


class Line:
    """The far end of a frame stream."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.frames: list[dict[str, Any]] = []
        self.serial = 0
        self.ended = False
        self._decoder = Decoder()

    def start(self, op: str, descriptor: int | None = None, **fields: Any) -> int:
        self.serial += 1
        frame = encode({"v": 1, "id": self.serial, "op": op, **fields})
        if descriptor is None:
            self.sock.sendall(frame)
        else:
            socket.send_fds(self.sock, [frame], [descriptor])
        return self.serial

    def read(self, seconds: float) -> bool:
        if self.ended or not select.select([self.sock], [], [], seconds)[0]:
            return False
        data = self.sock.recv(1 << 16)
        self.ended = not data
        self.frames += [frame for frame in self._decoder.feed(data) if isinstance(frame, dict)]
        return True

    def until(self, what: str, test: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while True:
            for frame in self.frames:
                if test(frame):
                    return frame
            assert not self.ended, f"the stream ended before {what}"
            assert time.monotonic() < deadline, f"never: {what}; seen: {self.frames}"
            self.read(0.5)

    def ask(self, op: str, descriptor: int | None = None, **fields: Any) -> dict[str, Any]:
        number = self.start(op, descriptor, **fields)
        return self.until(f"the answer to {op}", lambda frame: frame.get("id") == number)

    def ok(self, op: str, descriptor: int | None = None, **fields: Any) -> dict[str, Any]:
        answer = self.ask(op, descriptor, **fields)
        assert "ok" in answer, answer
        found: dict[str, Any] = answer["ok"]
        return found

    def refused(self, op: str, **fields: Any) -> str:
        answer = self.ask(op, **fields)
        assert "problems" in answer, answer
        return str(answer["problems"])

    def event(self, kind: str) -> dict[str, Any]:
        return self.until(f"the event {kind}", lambda frame: frame.get("event") == kind)

    def prepare(self, plan: Plan) -> dict[str, Any]:
        known: dict[str, PeerSet] = {}
        wire = plan_codec(known).encode(plan)
        self.ok("peers", sets={digest: peers.to_wire() for digest, peers in known.items()})
        return self.ask("prepare", target=plan.target, plan=wire)

    def impose(self, plan: Plan) -> Observed:
        answer = self.prepare(plan)
        assert "ok" in answer, answer
        return self.observed("commit", target=plan.target, digest=plan.digest)

    def observed(self, op: str, **fields: Any) -> Observed:
        seen: Observed = OBSERVED.decode(self.ok(op, **fields)["observed"])
        return seen

    def close(self) -> None:
        self.sock.close()


class Agent:
    """``agent keep --admin-fd``, as a node host starts it."""

    def __init__(self, program: Path = PROGRAM) -> None:
        near, far = socket.socketpair()
        argv = [sys.executable, "-I", "-S", str(program), "keep", "--admin-fd", str(far.fileno())]
        self.process = subprocess.Popen(argv, pass_fds=[far.fileno()])
        far.close()
        self.admin = Line(near)
        self.lines: list[Line] = []

    def target(self, name: str, namespace: Namespace) -> None:
        fd = namespace.open()
        self.admin.ok("target", fd, target=name)
        os.close(fd)

    def session(self) -> Line:
        near, far = socket.socketpair()
        self.admin.ok("session", far.fileno())
        far.close()
        line = Line(near)
        self.lines.append(line)
        return line

    def owner(self, identity: str = "test", epoch: int = 0) -> Line:
        line = self.session()
        line.ok("hello", role="owner", identity=identity, epoch=epoch)
        return line

    def guest(self) -> Line:
        line = self.session()
        line.ok("hello", role="guest")
        return line

    def worker(self) -> int:
        """The one child that there is, once the one that tried the kernel has gone."""
        wait_for("one child", lambda: len(self.children()) == 1)
        return self.children()[0]

    def children(self) -> list[int]:
        return [
            int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ]

    def end(self) -> int:
        """End the admin stream; return the exit status."""
        self.admin.close()
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        for line in (*self.lines, self.admin):
            line.close()
        if self.process.poll() is None:
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait()
