"""Trying what this kernel lets this process do; runs in a child, which alone needs this module and what it imports."""

from __future__ import annotations

import errno
import os
import struct

from pytest_k8s_netem.agent import namespace
from pytest_k8s_netem.agent.dataplane import clsbpf, mirred, names
from pytest_k8s_netem.agent.dataplane.attributes import u32
from pytest_k8s_netem.agent.dataplane.netlink import Netlink
from pytest_k8s_netem.agent.dataplane.tc import HOOK_EGRESS
from pytest_k8s_netem.agent.early import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_NO_DEVICE = 2**31 - 1
_VANISHED = os.strerror(errno.ENODEV)
_NETEM = 1 << 16
_LEFT_OPEN: list[socket.socket] = []
"""Until this process ends: to close a packet socket takes longer than all the rest."""
_NOTHING = bytes(24)  # struct tc_netem_qopt of linux/pkt_sched.h
_BANDS = struct.pack("=i16x", 2)  # struct tc_prio_qopt of linux/pkt_sched.h
_CLASS = u32(1, names.CLASSES)  # TCA_FLOWER_CLASSID of linux/pkt_cls.h
_NEWUSER = 0x10000000  # CLONE_NEWUSER of linux/sched.h


def try_all() -> dict[str, str]:
    """Per need and privilege, why it is not there; "" = it is."""
    found = {name: _why(attempt) for name, attempt in _PRIVILEGES.items()}
    if "NET_RAW" in found:
        found["packet"] = found["NET_RAW"]
    scratch = _entered_scratch()
    with Netlink.open() as netlink:
        if not scratch:
            _remove_earlier(netlink)
        tried = _tried(netlink, scratch)
        if any(why.startswith(_VANISHED) for why in tried.values()):
            tried = _tried(netlink, scratch)  # another agent that starts here has taken ours for left ones
    return found | tried


def _tried(netlink: Netlink, scratch: bool) -> dict[str, str]:
    """What comes of all that takes devices, which go again."""
    made: dict[str, int] = {}
    found = {name: _why(attempt) for name, attempt in _attempts(netlink, made).items()}
    for index in () if scratch else made.values():  # a namespace's end removes them, and nobody waits for it
        _why(lambda index=index: netlink.delete_link(index))  # type: ignore[misc]
    return found


def _entered_scratch() -> bool:
    """Into a namespace of its own: as root, else by a user namespace, else stay: a new device disturbs nobody."""
    return not _why(namespace.unshare) or not _why(lambda: namespace.unshare(_NEWUSER))


def _remove_earlier(netlink: Netlink) -> None:
    """What a child left that was killed at its trials."""
    for link in netlink.links():
        if names.is_trial(link.name) and link.alias == names.ALIAS:
            _why(lambda index=link.index: netlink.delete_link(index))  # type: ignore[misc]


def _attempts(netlink: Netlink, made: dict[str, int]) -> dict[str, Callable[[], object]]:
    """What to try, in order; later ones work on devices that earlier ones put into ``made``."""

    def link(kind: str, peer: str | None = None) -> None:
        made[kind] = netlink.add_link(names.device(names.TRIAL[0]), kind, peer=peer, alias=names.ALIAS)

    def device() -> int:
        if not made:
            raise OSError(errno.ENODEV, "no device could be made to try it on")
        return next(iter(made.values()))

    def filtered() -> None:
        options = clsbpf.returning(0) + mirred.redirect(clsbpf.ACT, device())
        netlink.add_filter(device(), HOOK_EGRESS, names.PASS, "bpf", options)

    return {
        "veth": lambda: link("veth", names.device(names.TRIAL[1])),
        "ifb": lambda: link("ifb"),
        "netem": lambda: netlink.add_qdisc(device(), "netem", _NOTHING, handle=_NETEM),
        "prio": lambda: netlink.add_qdisc(device(), "prio", _BANDS, parent=_NETEM | 1),
        "clsact": lambda: netlink.add_clsact(device()),
        "filter": filtered,
        "flower": lambda: netlink.add_filter(device(), HOOK_EGRESS, names.PASS + 1, "flower", _CLASS),
    }


def _net_admin() -> None:
    """Every request that changes something is refused before it is looked at (rtnetlink_rcv_msg)."""
    with Netlink.open() as netlink:
        try:
            netlink.delete_link(_NO_DEVICE)
        except OSError as error:
            if error.errno == errno.EPERM:
                raise


def _net_raw() -> None:
    _LEFT_OPEN.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0))


def _real_time() -> None:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _large_buffers() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 20)
    finally:
        sock.close()


_PRIVILEGES: dict[str, Callable[[], object]] = {
    "NET_ADMIN": _net_admin,
    "NET_RAW": _net_raw,
    "SCHED_FIFO": _real_time,
    "rcvbufforce": _large_buffers,
}


def _why(attempt: Callable[[], object]) -> str:
    """Why the attempt failed, in the kernel's words; "" if it did not."""
    try:
        attempt()
    except OSError as error:
        return error.strerror or str(error)
    return ""
