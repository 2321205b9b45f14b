"""Two anonymous network namespaces joined by a veth, and an engine at work in the first."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from pytest_k8s_netem.agent.dataplane import filters, names
from pytest_k8s_netem.agent.dataplane.netlink import Netlink
from pytest_k8s_netem.agent.dataplane.userspace import UserspaceEngine, UserspaceSink
from pytest_k8s_netem.agent.loop import Loop
from pytest_k8s_netem.agent.namespace import current, enter, entered, unshare
from pytest_k8s_netem.agent.spares import Spares
from pytest_k8s_netem.model.impairment import Impairment
from pytest_k8s_netem.model.match import Match
from pytest_k8s_netem.model.plan import Class, Direction, Stage
from pytest_k8s_netem.model.sizing import sized
from pytest_k8s_netem.model.timeline import Timeline

POD, PEER = {4: "10.77.0.1", 6: "fd77::1"}, {4: "10.77.0.2", 6: "fd77::2"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_SO_TIMESTAMPNS = 35
_TOGETHER = """
link add eth0 index 11 type veth peer name peer0
addr add 10.77.0.1/24 dev eth0
addr add fd77::1/64 dev eth0 nodad
link set eth0 up
link set lo up
"""
_PEER = """
link set peer0 name eth0
addr add 10.77.0.2/24 dev eth0
addr add fd77::2/64 dev eth0 nodad
link set eth0 up
link set lo up
"""


def fresh() -> int:
    """A descriptor of a new network namespace."""
    home = current()
    try:
        unshare()
        made = current()
        enter(home)
    finally:
        os.close(home)
    return made


def ip(namespace: int, batch: str) -> None:
    with entered(namespace):
        subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True, pass_fds=[namespace])


@dataclass
class Two:
    """``pod`` and ``peer``: descriptors. ``netlink``: of the pod."""

    pod: int
    peer: int
    netlink: Netlink
    engine: UserspaceEngine
    spares: Spares
    sockets: list[socket.socket] = field(default_factory=list)

    def socket(self, namespace: int, family: int = 4, kind: int = socket.SOCK_DGRAM) -> socket.socket:
        with entered(namespace):
            sock = socket.socket(FAMILY[family], kind)
        self.sockets.append(sock)
        sock.settimeout(10)
        return sock

    def receiver(self, namespace: int, family: int = 4, port: int = 0) -> socket.socket:
        """A UDP socket with kernel arrival stamps and a buffer for whole tests."""
        sock = self.socket(namespace, family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        with suppress(PermissionError):  # in a user namespace net.core.rmem_max has to do
            sock.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.bind((POD[family] if namespace == self.pod else PEER[family], port))
        return sock

    def eth0(self):
        return next(interface for interface in self.netlink.interfaces() if interface.name == "eth0")

    def sink(
        self,
        stages: Mapping[str, Impairment],
        classes: Sequence[tuple[Match, tuple[str, ...]]] = (),
        direction: Direction = Direction.EGRESS,
        seed: int | None = 5,
    ) -> tuple[UserspaceSink, list[Class]]:
        stages = {name: sized(impairment) for name, impairment in stages.items()}
        made = {
            name: Stage(name, f"profile-{name}", direction, Timeline.constant(impairment), seed)
            for name, impairment in stages.items()
        }
        chosen = classes or [(Match(), tuple(stages))]
        built = [Class(f"class-{at}", "eth0", direction, (match,), names) for at, (match, names) in enumerate(chosen)]
        return self.engine.sink(self.eth0(), direction, built, made, stages), built

    @contextmanager
    def impaired(self, stages, classes=(), direction=Direction.EGRESS, seed=5) -> Iterator[UserspaceSink]:
        """Impair all IP packets, or those of the classes; heal in the order of the contract."""
        if isinstance(stages, Impairment):
            stages = {"stage": stages}
        sink, built = self.sink(stages, classes, direction, seed)
        redirects = {entry.id: sink.redirect(entry.id) for entry in built if entry.stages}
        if direction is Direction.INGRESS:
            filters.let_marked_pass(self.netlink, self.eth0().index, names.handle())
        hooked = filters.install(self.netlink, self.eth0().index, direction, built, redirects)
        try:
            yield sink
        finally:
            hooked.remove()
            close(sink)
            filters.clear(self.netlink, self.eth0().index)

    def close(self) -> None:
        self.engine.close()
        self.spares.close()
        for sock in self.sockets:
            sock.close()
        self.netlink.close()
        os.close(self.pod)
        os.close(self.peer)


@contextmanager
def two() -> Iterator[Two]:
    pod, peer = fresh(), fresh()
    ip(pod, _TOGETHER)
    with entered(pod):
        netlink = Netlink.open()
    _move(netlink, "peer0", peer)
    ip(peer, _PEER)
    netlink.add_clsact(next(i for i in netlink.interfaces() if i.name == "eth0").index)
    spares = Spares(Loop())
    made = Two(pod, peer, netlink, UserspaceEngine(netlink, pod, spares), spares)
    try:
        _until_reachable(made)
        yield made
    finally:
        made.close()


def _move(netlink: Netlink, name: str, namespace: int) -> None:
    """IFLA_NET_NS_FD (28)."""
    index = netlink.link(name).index
    netlink.request(19, struct.pack("=BxHiII", 0, 0, index, 0, 0) + struct.pack("=HHI", 8, 28, namespace))


def _until_reachable(made: Two) -> None:
    """Both families answer, neighbours are known."""
    for family in (4, 6):
        there, here = made.receiver(made.peer, family), made.socket(made.pod, family)
        there.settimeout(0.05)
        deadline = time.monotonic() + 10
        while True:
            try:
                here.sendto(b"?", there.getsockname()[:2])
                there.recv(1)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise


def close(*sinks) -> None:
    """Close sinks and wait until nothing is left of them."""
    for sink in sinks:
        sink.close()
    deadline = time.monotonic() + 10
    while not all(sink.gone() for sink in sinks):
        assert time.monotonic() < deadline, "a sink never goes"
        time.sleep(0.001)


def received(sock: socket.socket, timeout: float) -> list[tuple[int, bytes]]:
    """(kernel arrival, ns; payload) of each datagram until none comes for ``timeout`` seconds."""
    found = []
    sock.settimeout(timeout)
    while True:
        try:
            data, control, _, _ = sock.recvmsg(65536, 64)
        except TimeoutError:
            return found
        seconds, nanoseconds = struct.unpack("@ll", control[0][2][:16])
        found.append((seconds * 1_000_000_000 + nanoseconds, data))
