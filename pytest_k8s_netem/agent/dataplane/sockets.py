"""Packet sockets of the user-space engine (packet(7), linux/if_packet.h): one frame a message, with its arrival time.

A frame is a struct virtio_net_hdr of :data:`VNET` bytes (linux/virtio_net.h) and the frame proper, in both directions:
so a superpacket, or a packet whose checksum is still to be computed, travels as it is.
"""

from __future__ import annotations

import ctypes
import mmap
import socket
import struct
from contextlib import contextmanager

from pytest_k8s_netem.agent.dataplane.names import MARK
from pytest_k8s_netem.agent.namespace import current, entered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Arrival = tuple[int, memoryview]
    """When the kernel took the frame (CLOCK_REALTIME, ns), and the frame; a view that lasts until the next reading."""

VNET = 10
"""Bytes of struct virtio_net_hdr."""
RECEIVE_BUFFER = 64 << 20
"""Bytes that wait in the kernel while the worker is kept from reading, where it may have so many (CAP_NET_ADMIN)."""
SEND_BUFFER = 8 << 20
FRAME = (64 << 10) + 512
"""Bytes of the longest frame: a superpacket of 64 KiB, its headers included."""

_SOL_PACKET, _PACKET_STATISTICS, _PACKET_VNET_HDR, _PACKET_QDISC_BYPASS, _PACKET_IGNORE_OUTGOING = 263, 6, 15, 20, 23
_SO_ATTACH_FILTER, _SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS, _SO_MARK = 26, 32, 33, 35, 36
_ETH_P_ALL = 0x0003


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Be in a namespace for the body; without a privilege where that is the one the thread is in anyway.

    :raises OSError: as setns(2).
    """
    import os

    here = current()
    try:
        same = os.path.sameopenfile(here, namespace)
    finally:
        os.close(here)
    if same:
        yield
    else:
        with entered(namespace):
            yield


def reader(device: str, program: bytes | None = None) -> socket.socket:
    """A socket that takes what arrives on a device: all of it, or what a classic BPF program accepts.

    :raises OSError: if the kernel refuses.
    """
    sock = _packet_socket()
    try:
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        _buffer(sock, _SO_RCVBUFFORCE, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if program is not None:
            _attach(sock, program)
        sock.bind((device, _ETH_P_ALL))  # takes frames from here on, none unfiltered
    except OSError:
        sock.close()
        raise
    return sock


def sender(device: str, marked: bool = False) -> socket.socket:
    """A socket that puts frames on a device past its queue and egress hook, with our mark if asked for.

    :raises OSError: if the kernel refuses.
    """
    sock = _packet_socket()
    try:
        sock.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        _buffer(sock, _SO_SNDBUFFORCE, socket.SO_SNDBUF, SEND_BUFFER)
        if marked:
            sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, MARK)
        sock.bind((device, 0))
    except OSError:
        sock.close()
        raise
    return sock


def drops(sock: socket.socket) -> int:
    """Frames that found the receive buffer full since the last call (PACKET_STATISTICS, which starts anew)."""
    _packets, dropped = struct.unpack("=II", sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
    return int(dropped)


def _packet_socket() -> socket.socket:
    """Receives nothing before it is bound."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    try:
        sock.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    except OSError:
        sock.close()
        raise
    return sock


def _buffer(sock: socket.socket, force: int, ask: int, size: int) -> None:
    """Make a buffer as large as wanted, or as large as this user may."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, ask, size)


def _attach(sock: socket.socket, program: bytes) -> None:
    code = ctypes.create_string_buffer(program, len(program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))


class Receiver:
    """Reads many frames with one call (recvmmsg(2)) into memory that is used again and again.

    :ivar left_out: frames longer than :data:`FRAME` that the last reading met.
    """

    SLOTS = 32
    _HEADER = struct.Struct("@PIPNPNi0PI0P")
    """struct mmsghdr: name, its length, vectors, their number, control, its length, flags, bytes received."""
    _VECTOR = struct.Struct("@PN")
    _CONTROL = struct.Struct("@Niill0N")
    """struct cmsghdr and the struct timespec of SCM_TIMESTAMPNS."""

    def __init__(self) -> None:
        slots = self.SLOTS
        self.left_out = 0
        self._memory = mmap.mmap(-1, slots * FRAME)  # touched, and so resident, no further than frames reach
        self._view = memoryview(self._memory)
        self._control = ctypes.create_string_buffer(slots * self._CONTROL.size)
        self._vectors = ctypes.create_string_buffer(slots * self._VECTOR.size)
        self._headers = ctypes.create_string_buffer(slots * self._HEADER.size)
        frames = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        for slot in range(slots):
            vector = ctypes.addressof(self._vectors) + slot * self._VECTOR.size
            control = ctypes.addressof(self._control) + slot * self._CONTROL.size
            self._VECTOR.pack_into(self._vectors, slot * self._VECTOR.size, frames + slot * FRAME, FRAME)
            self._HEADER.pack_into(
                self._headers, slot * self._HEADER.size, 0, 0, vector, 1, control, self._CONTROL.size, 0, 0
            )
        self._call = ctypes.CDLL(None).recvmmsg
        self._call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]

    def read(self, fd: int) -> list[Arrival]:
        """Up to :data:`SLOTS` frames that wait in a socket; none if none does, or its device has gone.

        A frame longer than :data:`FRAME` is left out, and counted.
        """
        self.left_out = 0
        count = self._call(fd, self._headers, self.SLOTS, socket.MSG_DONTWAIT, None)
        if count <= 0:
            return []
        found = []
        start = 0
        stamps = self._CONTROL.iter_unpack(memoryview(self._control)[: count * self._CONTROL.size])
        headers = self._HEADER.iter_unpack(memoryview(self._headers)[: count * self._HEADER.size])
        for (_, _, _, seconds, nanoseconds), (*_, flags, length) in zip(stamps, headers, strict=True):
            if flags & socket.MSG_TRUNC:
                self.left_out += 1
            else:
                found.append((seconds * 1_000_000_000 + nanoseconds, self._view[start : start + length]))
            start += FRAME
        return found
