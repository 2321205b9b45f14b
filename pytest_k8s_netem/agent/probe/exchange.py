"""One check's packets and their answers, by a raw socket of the calling thread's namespace."""

from __future__ import annotations

import ctypes
import errno
import secrets
import socket
import struct
import time

from pytest_k8s_netem.agent.probe import packets
from pytest_k8s_netem.model.observed import CheckObserved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.model.plan import Check

# asm-generic/socket.h, linux/icmp.h, linux/icmpv6.h, linux/in6.h, linux/in.h
_SO_ATTACH_FILTER, _SO_TIMESTAMPNS = 26, 35
_SOL_RAW, _ICMP_FILTER, _ICMPV6_FILTER, _IPV6_CHECKSUM = 255, 1, 1, 7
_TCP_CHECKSUM_AT = 16
_TIMESPEC = struct.Struct("@ll")
_HIGH_PORTS = range(61001, 65536)
"""Above the kernel's default range of ephemeral ports: no connection of the pod is met."""


class Exchange:
    """Sends a check's packets when due, takes their answers; one that cannot go on says why in its result."""

    def __init__(self, check: Check, start: int) -> None:
        self.check = check
        self.sock: socket.socket | None = None
        self._start = start
        self._sent: dict[int, int] = {}
        self._sent_count = 0
        self._rtts: dict[int, int] = {}
        self._error = ""
        self._family = 6 if ":" in check.address else 4
        try:
            self.sock = self._open()
        except (OSError, ValueError) as error:
            self._error = str(error)

    @property
    def due(self) -> int | None:
        """When the next packet is to leave (CLOCK_MONOTONIC, ns); None when all have left."""
        if self._error or self._sent_count >= self.check.count:
            return None
        return self._start + self._sent_count * self.check.interval

    @property
    def end(self) -> int:
        """When to stop waiting for answers; the past if all are here."""
        if self._error or (self._sent_count >= self.check.count and len(self._rtts) >= self._sent_count):
            return 0
        return self._start + max(self.check.count - 1, 0) * self.check.interval + self.check.timeout

    @property
    def result(self) -> CheckObserved:
        """What was seen so far; ``met`` is for others to say."""
        return CheckObserved(
            self.check.id, self._sent_count, len(self._rtts), tuple(self._rtts.values()), error=self._error
        )

    def send(self) -> None:
        """Send one packet."""
        if self.sock is None:
            return
        index = self._sent_count
        packet = self._packet(index)
        # Of a train, which leaves at once, the first one's time: what the rest waited for this process is no delay.
        self._sent[index] = self._sent[0] if index and not self.check.interval else time.time_ns()
        try:
            self.sock.send(packet)
        except OSError as error:
            if error.errno not in (errno.ENOBUFS, errno.EAGAIN):  # dropped on the way out: sent, and lost
                self._error = str(error)
                return
        self._sent_count += 1

    def receive(self) -> None:
        """Take what has arrived; a packet counts once, duplicates do not."""
        while self.sock is not None:
            try:
                data, control, _flags, _address = self.sock.recvmsg(65536, 64, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error: the answer is missing, which is what will be reported
                return
            index = self._index(data)
            if index in self._sent and index not in self._rtts:
                self._rtts[index] = _arrival(control) - self._sent[index]

    def _open(self) -> socket.socket:
        domain = socket.AF_INET if self._family == 4 else socket.AF_INET6
        if self.check.kind == "icmp":
            protocol = socket.IPPROTO_ICMP if self._family == 4 else socket.IPPROTO_ICMPV6
        elif self.check.kind == "tcp":
            protocol = socket.IPPROTO_TCP
        else:
            raise ValueError(f"no packet for a check of kind {self.check.kind!r}")
        sock = socket.socket(domain, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            sock.connect((self.check.address, 0))
            (self._open_echo if self.check.kind == "icmp" else self._open_tcp)(sock)
        except BaseException:
            sock.close()
            raise
        return sock

    def _open_echo(self, sock: socket.socket) -> None:
        self._identifier = secrets.randbelow(0x10000)
        if self._family == 4:
            sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << packets.ECHO_REPLY) & 0xFFFFFFFF))
        else:
            blocked = bytearray(b"\xff" * 32)
            words = memoryview(blocked).cast("I")
            words[packets.ECHO_REPLY_V6 >> 5] &= ~(1 << (packets.ECHO_REPLY_V6 & 31)) & 0xFFFFFFFF
            sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, bytes(blocked))

    def _open_tcp(self, sock: socket.socket) -> None:
        free = secrets.choice(_HIGH_PORTS)
        self._ports = (self.check.port, free) if self.check.local_port else (free, self.check.port)
        self._first = secrets.randbits(31)
        self._addresses: tuple[bytes, bytes] | None = None
        if self._family == 4:
            self._addresses = (socket.inet_aton(sock.getsockname()[0]), socket.inet_aton(self.check.address))
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_CHECKSUM, _TCP_CHECKSUM_AT)
        program = packets.reset_filter(self._family, self._ports[0])
        buffer = ctypes.create_string_buffer(program, len(program))
        sock.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
        )

    def _packet(self, index: int) -> bytes:
        if self.check.kind == "icmp":
            return packets.echo(self._family, self._identifier, index, self.check.size)
        return packets.acknowledgement(self._family, self._ports, self._first + index, self.check.size, self._addresses)

    def _index(self, data: bytes) -> int | None:
        if self.check.kind == "icmp":
            return packets.echo_reply(self._family, self._identifier, data)
        number = packets.reset(self._family, self._ports, data)
        return None if number is None else number - self._first


def _arrival(control: list[tuple[int, int, bytes]]) -> int:
    """When the kernel received a packet, ns of CLOCK_REALTIME; now, if it did not say."""
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()
