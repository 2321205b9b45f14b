"""Packet sockets of the user-space engine (packet(7), linux/if_packet.h): one frame a message, with its arrival time.

A frame is a struct virtio_net_hdr of :data:`VNET` bytes (linux/virtio_net.h) and the frame proper, in both directions:
so a superpacket, or a packet whose checksum is still to be computed, travels as it is.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from contextlib import contextmanager

from pytest_k8s_netem.agent.dataplane.names import MARK
from pytest_k8s_netem.agent.namespace import current, entered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

VNET = 10
"""Bytes of struct virtio_net_hdr."""
RECEIVE_BUFFER = 64 << 20
"""Bytes that wait in the kernel while the worker is kept from reading, where it may have so many (CAP_NET_ADMIN)."""
ROOMS = 4
"""Sockets that share the load where a buffer is limited: each can wait for 400 kB by the kernel's own default."""
SEND_BUFFER = 8 << 20

_SOL_PACKET, _PACKET_STATISTICS, _PACKET_VNET_HDR, _PACKET_QDISC_BYPASS, _PACKET_IGNORE_OUTGOING = 263, 6, 15, 20, 23
_PACKET_FANOUT, _ROLLOVER, _UNIQUE = 18, 3, 0x2000
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


def readers(device: str, program: bytes | None = None) -> list[socket.socket]:
    """What takes all that arrives on a device, or what of it a classic BPF program accepts.

    One socket, or where its buffer may not be large several, which the kernel fills one after the other, round and
    round, moving on from one that is nearly full.

    :raises OSError: if the kernel refuses.
    """
    made = [_packet_socket()]
    try:
        if not _begin_to_read(made[0], device, program):
            made[0].setsockopt(_SOL_PACKET, _PACKET_FANOUT, (_ROLLOVER | _UNIQUE) << 16)
            group = made[0].getsockopt(_SOL_PACKET, _PACKET_FANOUT) & 0xFFFF
            while len(made) < ROOMS:
                made.append(_packet_socket())
                _begin_to_read(made[-1], device, program)
                made[-1].setsockopt(_SOL_PACKET, _PACKET_FANOUT, group | _ROLLOVER << 16)
    except OSError:
        for sock in made:
            sock.close()
        raise
    return made


def _begin_to_read(sock: socket.socket, device: str, program: bytes | None) -> bool:
    """Take what arrives from here on, none unfiltered; return whether the buffer is as large as wanted."""
    sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    large = _buffer(sock, _SO_RCVBUFFORCE, socket.SO_RCVBUF, RECEIVE_BUFFER)
    if program is not None:
        _attach(sock, program)
    sock.bind((device, _ETH_P_ALL))
    return large


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


def _buffer(sock: socket.socket, force: int, ask: int, size: int) -> bool:
    """Make a buffer as large as wanted, or as large as this user may; return whether it is as wanted."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, ask, size)
    return sock.getsockopt(socket.SOL_SOCKET, ask) >= size


def _attach(sock: socket.socket, program: bytes) -> None:
    code = ctypes.create_string_buffer(program, len(program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
