"""The options of cls_bpf filters with a mirred action (linux/pkt_cls.h, linux/tc_act/tc_mirred.h)."""

from __future__ import annotations

import struct

from pytest_k8s_netem.agent.dataplane.attributes import attribute, nested, text, u32

ACT, CLASSID, OPS_LEN, OPS, FLAGS = 1, 3, 4, 5, 8
ACT_KIND, ACT_OPTIONS, ACT_STATS, MIRRED_PARMS = 1, 2, 4, 2
MIRRED = struct.Struct("=IIiiiiI")
"""struct tc_mirred: index, capabilities, what becomes of the packet, two counts, which way, device."""
_STOLEN, _EGRESS_REDIRECT, _INGRESS_REDIRECT, _DIRECT_ACTION = 4, 1, 3, 1
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


def redirect(device: int, *, received: bool = False) -> bytes:
    """The attribute that hands matched packets to a device: to be sent by it, or as received on it."""
    way = _INGRESS_REDIRECT if received else _EGRESS_REDIRECT
    parameters = attribute(MIRRED_PARMS, MIRRED.pack(0, 0, _STOLEN, 0, 0, way, device))
    return nested(ACT, nested(1, text(ACT_KIND, "mirred"), nested(ACT_OPTIONS, parameters)))
