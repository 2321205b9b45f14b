"""A device's segmentation and checksum offloads (SIOCETHTOOL, linux/ethtool.h)."""

from __future__ import annotations

import array
import fcntl
import struct
from dataclasses import dataclass, fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

_SIOCETHTOOL = 0x8946
_COMMANDS = {"tx": 0x16, "sg": 0x18, "tso": 0x1E, "gso": 0x23, "gro": 0x2B}
"""ETHTOOL_G*; the command that sets is the next number. Each offload stands behind those it needs."""


@dataclass(frozen=True, slots=True)
class Offloads:
    """What is on, as ``ethtool -k`` names it: transmit checksums, scatter-gather, TSO, GSO, GRO."""

    tx: bool
    sg: bool
    tso: bool
    gso: bool
    gro: bool


NONE = Offloads(tx=False, sg=False, tso=False, gso=False, gro=False)
"""Every packet is one frame with its checksum finished."""


def read(sock: socket.socket, device: str) -> Offloads:
    """The offloads of a device of the socket's namespace; any socket serves, a netlink one too.

    :raises OSError: ENODEV if there is no such device.
    """
    return Offloads(**{name: bool(_ethtool(sock, device, command, 0)) for name, command in _COMMANDS.items()})


def write(sock: socket.socket, device: str, wanted: Offloads) -> None:
    """Make a device's offloads what is wanted; what is so already is not touched.

    :raises OSError: ENODEV if there is no such device, EOPNOTSUPP or EINVAL where the driver cannot,
        EPERM without CAP_NET_ADMIN.
    """
    now = read(sock, device)
    for name in (f.name for f in fields(wanted)):
        value = getattr(wanted, name)
        if getattr(now, name) != value:
            _ethtool(sock, device, _COMMANDS[name] + 1, int(value))


def _ethtool(sock: socket.socket, device: str, command: int, value: int) -> int:
    """Exchange a struct ethtool_value with the driver; return its data."""
    exchanged = array.array("I", (command, value))
    fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("16sP8x", device.encode(), exchanged.buffer_info()[0]))
    return exchanged[1]
