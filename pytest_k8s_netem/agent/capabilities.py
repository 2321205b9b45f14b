"""What this kernel lets this process do, found by trying: in a namespace made for it, by a child that ends with it."""

from __future__ import annotations

import errno
import json
import os
import socket
import struct

from pytest_k8s_netem.agent import namespace
from pytest_k8s_netem.agent.dataplane import bpf, filters, names, netem
from pytest_k8s_netem.agent.dataplane.netlink import Netlink
from pytest_k8s_netem.agent.dataplane.tc import HOOK_EGRESS
from pytest_k8s_netem.model.capabilities import BRANCHES, Capabilities, EngineCapability
from pytest_k8s_netem.model.impairment import NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SEEDED_SINCE = (6, 6)
"""First Linux whose netem takes a seed (TCA_NETEM_PRNG_SEED)."""
_NEEDS = {
    "kernel": ("ifb", "netem", "clsact", "filter"),
    "userspace": ("veth", "clsact", "filter", "packet"),
}
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_NO_DEVICE = 2**31 - 1
_NETEM = 1 << 16
_BANDS = struct.pack("=i16x", 2)  # struct tc_prio_qopt of linux/pkt_sched.h
_NEWUSER = 0x10000000  # CLONE_NEWUSER of linux/sched.h


def probe() -> Capabilities:
    """Try what each engine needs; takes a few milliseconds and leaves nothing behind.

    :raises OSError: if no child can be made.
    """
    return begin()()


def begin() -> Callable[[], Capabilities]:
    """Start trying, beside whatever the caller does next; calling the result, once, waits for what was found.

    :raises OSError: if no child can be made.
    """
    found = _in_child(_try_all)
    return lambda: _judged(found())


def _judged(found: dict[str, str]) -> Capabilities:
    release = os.uname().release
    tried = {name: why for name, why in found.items() if name in _FIXES}
    return Capabilities(
        release,
        tuple(_engine(name, tried, release) for name in _NEEDS),
        classifiers=() if tried.get("filter") else ("bpf",),
        privileges=tuple(name for name, why in found.items() if name not in _FIXES and not why),
    )


def _engine(name: str, tried: dict[str, str], release: str) -> EngineCapability:
    missing = [
        f"{_FIXES[need][0]} is missing ({tried.get(need, 'not tried')}): {_FIXES[need][1].format(release=release)}"
        for need in _NEEDS[name]
        if tried.get(need, "not tried")
    ]
    branching = bool(tried.get("netem")) or not tried.get("prio")  # tried behind netem only
    return EngineCapability(
        name, not missing, "; ".join(missing), refused(name, branching=branching), unpromised(name, release)
    )


def refused(engine: str, *, branching: bool = True) -> tuple[str, ...]:
    """What an engine cannot do on any kernel; ``branching``: whether this one has sch_prio.

    The user-space engine can do every field: it is our own model of a packet's fate (:mod:`model.fate`).
    """
    return ("ordered", "loss.EveryNth", *(() if branching else (BRANCHES,))) if engine == "kernel" else ()


def unpromised(engine: str, release: str) -> tuple[str, ...]:
    """What an engine takes on this kernel without its full effect."""
    if engine != "kernel":
        return ()
    return ("delay_corr",) if _version(release) >= SEEDED_SINCE else ("delay_corr", "seed")


_FIXES = {
    "ifb": ("ifb", "modprobe ifb, or use --netem-engine=userspace"),
    "netem": (
        "sch_netem",
        "modprobe sch_netem (apt install linux-modules-extra-{release}), use --netem-engine=userspace, "
        "or run in a guest that has it: --netem-guest",
    ),
    "prio": ("sch_prio", "modprobe sch_prio"),
    "clsact": ("the clsact qdisc", "modprobe sch_ingress (Linux 4.5 and later have it)"),
    "filter": ("cls_bpf with act_mirred", "modprobe -a cls_bpf act_mirred"),
    "veth": ("veth", "modprobe veth"),
    "packet": ("a packet socket", "give the agent CAP_NET_RAW, modprobe af_packet"),
}
"""Per need: what it is called, and what to do where it lacks."""


def _version(release: str) -> tuple[int, ...]:
    digits = (part.partition("-")[0] for part in release.split(".")[:2])
    return tuple(int(part) for part in digits if part.isdigit())


def _try_all() -> dict[str, str]:
    """Per need and privilege, why it is not there; "" = it is."""
    found = {name: _why(attempt) for name, attempt in _PRIVILEGES.items()}
    if "NET_RAW" in found:
        found["packet"] = found["NET_RAW"]
    scratch = _entered_scratch()
    with Netlink.open() as netlink:
        made: dict[str, int] = {}
        for name, attempt in _attempts(netlink, made).items():
            found[name] = _why(attempt)
        for index in () if scratch else made.values():  # a namespace's end removes them, and nobody waits for it
            _why(lambda index=index: netlink.delete_link(index))  # type: ignore[misc]
    return found


def _entered_scratch() -> bool:
    """Into a namespace of its own: as root, else by a user namespace, else stay: a new device disturbs nobody."""
    return not _why(namespace.unshare) or not _why(lambda: namespace.unshare(_NEWUSER))


def _attempts(netlink: Netlink, made: dict[str, int]) -> dict[str, Callable[[], object]]:
    """What to try, in order; later ones work on devices that earlier ones put into ``made``."""

    def link(kind: str, peer: str | None = None) -> None:
        made[kind] = netlink.add_link(names.device("try"), kind, peer=peer, alias=names.ALIAS)

    def device() -> int:
        if not made:
            raise OSError(errno.ENODEV, "no device could be made to try it on")
        return next(iter(made.values()))

    def filtered() -> None:
        program = bpf.marked()
        options = filters.options(program, filters.CLASSES | 1, device())
        netlink.add_filter(device(), HOOK_EGRESS, names.PRIORITIES.start, "bpf", options, protocol=program.ether_type)

    return {
        "veth": lambda: link("veth", names.device("peer")),
        "ifb": lambda: link("ifb"),
        "netem": lambda: netlink.add_qdisc(device(), "netem", netem.encode(NONE), handle=_NETEM),
        "prio": lambda: netlink.add_qdisc(device(), "prio", _BANDS, parent=_NETEM | 1),
        "clsact": lambda: netlink.add_clsact(device()),
        "filter": filtered,
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
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0).close()


def _real_time() -> None:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _large_buffers() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 20)


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


def _in_child(work: Callable[[], dict[str, str]]) -> Callable[[], dict[str, str]]:
    """Call ``work`` in a child; the result, called once, waits for what it returned; {} if it died."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read_end)
            os.write(write_end, json.dumps(work()).encode())  # some hundred bytes: a pipe holds them
        finally:
            os._exit(0)
    os.close(write_end)

    def answer() -> dict[str, str]:
        with open(read_end, "rb") as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        found: dict[str, str] = json.loads(said) if said else {}
        return found

    return answer
