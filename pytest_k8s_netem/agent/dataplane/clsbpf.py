"""The options of cls_bpf filters (linux/pkt_cls.h, TCA_BPF_*)."""

from __future__ import annotations

import struct

from pytest_k8s_netem.agent.dataplane import mirred
from pytest_k8s_netem.agent.dataplane.attributes import attribute, by_type, number, u32
from pytest_k8s_netem.model.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.agent.dataplane.tc import Stats

ACT, CLASSID, OPS_LEN, OPS, FLAGS = 1, 3, 4, 5, 8
_DIRECT_ACTION = 1
_RETURN = 0x06
"""BPF_RET | BPF_K of linux/bpf_common.h."""


def program(code: bytes) -> bytes:
    """The attributes that carry a classic program of eight-byte instructions."""
    return attribute(OPS_LEN, struct.pack("=H", len(code) // 8)) + attribute(OPS, code)


def returning(value: int) -> bytes:
    """The attributes that carry the program ``return value``."""
    return program(struct.pack("=HBBI", _RETURN, 0, 0, value))


def deciding(verdict: int) -> bytes:
    """The options of a filter that ends every packet so (TC_ACT_*), without an action of its own."""
    return returning(verdict) + u32(FLAGS, _DIRECT_ACTION)


def options(code: bytes, classid: int, target: int = 0) -> bytes:
    """TCA_OPTIONS of a filter; ``target``: the device to redirect to, 0 = none."""
    return u32(CLASSID, classid) + program(code) + (mirred.redirect(ACT, target) if target else b"")


@frozen
class Held:
    """A filter's options as the kernel lists them; ``target`` 0: no redirect."""

    classid: int
    code: bytes
    target: int
    counted: Stats


def read(raw: bytes) -> Held:
    """Read what :func:`options` made and the kernel listed."""
    found = by_type(raw)
    redirect = mirred.of_filter(found.get(ACT, b""))
    return Held(number(found.get(CLASSID, b"")), found.get(OPS, b""), redirect.target, redirect.counted)
