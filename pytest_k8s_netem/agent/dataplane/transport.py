"""An rtnetlink socket: requests with acknowledgement, and dumps."""

from __future__ import annotations

import os
import struct

from pytest_k8s_netem.agent.dataplane.attributes import by_type, string
from pytest_k8s_netem.agent.early import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType
    from typing import Any, Self, TypeVar

    T = TypeVar("T")

# linux/netlink.h
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x1, 0x4, 0x10
NLM_F_EXCL, NLM_F_CREATE, NLM_F_DUMP = 0x200, 0x400, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
_NLM_F_CAPPED, _NLM_F_ACK_TLVS, _NLMSGERR_ATTR_MSG = 0x100, 0x200, 1
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11

_HEADER = struct.Struct("=IHHII")
_RECEIVE = 1 << 18
"""Bytes for one recv: more than the kernel puts into one dump message."""
_TOGETHER = 100
"""Requests in one datagram: their refusals, should all be refused, fit the socket's buffer."""
_ATTEMPTS = 10
"""How often a dump is started anew because something changed while it was read."""


class Transport:
    """Owns a socket; belongs to the namespace in which that was opened, from whatever thread it is used.

    The kernel answers a request before sendto returns, so no call here ever waits.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._sequence = 0
        self._received = memoryview(bytearray(_RECEIVE))
        self.seen: dict[tuple[int, bytes], list[Any]] | None = None

    @classmethod
    def open(cls) -> Self:
        """Open a socket in the calling thread's current network namespace.

        :raises OSError: if the kernel gives none.
        """
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        try:
            sock.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
            sock.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
            sock.bind((0, 0))
        except OSError:
            sock.close()
            raise
        return cls(sock)

    def close(self) -> None:
        """Close the socket; what was made through it stays."""
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def request(self, kind: int, body: bytes, flags: int = 0) -> bytes:
        """Send one message; return the body of the answer (empty where the kernel only acknowledges).

        :raises OSError: what the kernel answered, with its own words where it has any.
        """
        answer = b""
        for message, _flags, data in self._exchange(kind, body, flags | NLM_F_ACK):
            if message != NLMSG_ERROR:
                answer = data
        return answer

    def requests(self, kind: int, bodies: Sequence[bytes], flags: int = 0) -> None:
        """Send many messages, some in each datagram; the last of these alone is acknowledged.

        :raises OSError: the first refusal; messages behind it in the same datagram were carried out, later ones not.
        """
        for start in range(0, len(bodies), _TOGETHER):
            together = bodies[start : start + _TOGETHER]
            first, last = self._sequence + 1, self._sequence + len(together)
            datagram = bytearray()
            for sequence, body in enumerate(together, first):
                acknowledged = NLM_F_ACK if sequence == last else 0
                header = _HEADER.pack(
                    _HEADER.size + len(body), kind, flags | NLM_F_REQUEST | acknowledged, sequence & 0xFFFFFFFF, 0
                )
                datagram += header + body
            self._sequence = last & 0xFFFFFFFF
            self.sock.sendto(datagram, (0, 0))
            self._acknowledged({sequence & 0xFFFFFFFF for sequence in range(first, last + 1)})

    def tell(self, kind: int, body: bytes) -> None:
        """Send one message and read no answer; a refusal that comes is left to the next reading, which skips it."""
        self.sock.sendto(_HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST, 0, 0) + body, (0, 0))

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """The bodies of everything the kernel lists.

        :raises OSError: what the kernel answered; EAGAIN if things changed faster than they could be read.
        """
        for _ in range(_ATTEMPTS):
            found, interrupted = [], False
            for message, flags, data in self._exchange(kind, body, NLM_F_DUMP):
                interrupted |= bool(flags & NLM_F_DUMP_INTR)
                if message not in (NLMSG_DONE, NLMSG_ERROR):
                    found.append(data)
            if not interrupted:
                return found
        raise BlockingIOError(11, "the kernel's tables change faster than they can be read")

    def looking(self) -> Looking:
        """Ask for each list once within the body, which changes nothing: several questions, one look."""
        return Looking(self)

    def listed(self, kind: int, body: bytes, read: Callable[[bytes], T]) -> list[T]:
        """What :meth:`dump` brings, each read by ``read``; see :meth:`looking`.

        :raises OSError: as :meth:`dump`.
        """
        if self.seen is None:
            return [read(data) for data in self.dump(kind, body)]
        if (kind, body) not in self.seen:
            self.seen[kind, body] = [read(data) for data in self.dump(kind, body)]
        return self.seen[kind, body]

    def _exchange(self, kind: int, body: bytes, flags: int) -> Iterator[tuple[int, int, bytes]]:
        """Messages that answer one request, its acknowledgement or end of dump included."""
        self._sequence = self._sequence + 1 & 0xFFFFFFFF
        header = _HEADER.pack(_HEADER.size + len(body), kind, flags | NLM_F_REQUEST, self._sequence, 0)
        self.sock.sendto(header + body, (0, 0))
        while True:
            length = self.sock.recv_into(self._received)
            for message, message_flags, sequence, data in _messages(bytes(self._received[:length])):
                if sequence != self._sequence:
                    continue  # left over from a dump that was given up
                if message == NLMSG_ERROR:
                    _raise_refusal(message_flags, data)
                yield message, message_flags, data
                if message in (NLMSG_ERROR, NLMSG_DONE):
                    return

    def _acknowledged(self, sent: set[int]) -> None:
        """Read until the message that was sent last is answered."""
        refusal: OSError | None = None
        while True:
            length = self.sock.recv_into(self._received)
            for message, flags, sequence, data in _messages(bytes(self._received[:length])):
                if message != NLMSG_ERROR or sequence not in sent:
                    continue
                try:
                    _raise_refusal(flags, data)
                except OSError as error:
                    refusal = refusal or error
                if sequence == self._sequence:
                    if refusal is not None:
                        raise refusal
                    return


class Looking:
    """The time in which a socket remembers what it listed."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __enter__(self) -> None:
        self._transport.seen = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.seen = None


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(type, flags, sequence, body) of each message in a datagram."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, sequence, _port = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, flags, sequence, data[at + _HEADER.size : at + length]
        at += length + (-length % 4)


def _raise_refusal(flags: int, data: bytes) -> None:
    """Raise the error that a struct nlmsgerr carries; none if it is an acknowledgement."""
    code = -struct.unpack_from("=i", data)[0]
    if code == 0:
        return
    said = ""
    if flags & _NLM_F_ACK_TLVS:
        length = struct.unpack_from("=I", data, 4)[0]
        start = 4 + (_HEADER.size if flags & _NLM_F_CAPPED else length + (-length % 4))
        said = string(by_type(data[start:]).get(_NLMSGERR_ATTR_MSG, b""))
    raise OSError(code, f"{os.strerror(code)}: {said}" if said else os.strerror(code))
