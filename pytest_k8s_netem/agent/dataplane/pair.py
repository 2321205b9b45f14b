"""The veth pair of a user-space sink: packets are redirected to the near end, the worker reads the far end."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

from pytest_k8s_netem.agent.dataplane import names, offloads
from pytest_k8s_netem.agent.dataplane.assembler import ACCEPT, RETURN
from pytest_k8s_netem.agent.dataplane.attributes import attribute, nested, text, u32
from pytest_k8s_netem.agent.dataplane.tc import HOOK_INGRESS
from pytest_k8s_netem.model.plan import Direction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.agent.dataplane.netlink import Netlink
    from pytest_k8s_netem.model.capabilities import Interface

MAX_MTU = 65535
"""ETH_MAX_MTU of linux/if_ether.h; only the loopback device has more."""
WHOLE = offloads.Offloads(tx=True, sg=True, tso=True, gso=True, gro=False)
"""Superpackets pass as they are, checksums may still have to be computed."""

# linux/if_link.h: no IPv6 address, hence no solicitation or report of the pair's own, ever
_RTM_SETLINK, _IFLA_AF_SPEC, _AF_INET6, _IFLA_INET6_ADDR_GEN_MODE, _ADDR_GEN_MODE_NONE = 19, 26, 10, 8, 1
# linux/pkt_cls.h, linux/tc_act/tc_mirred.h
_BPF_ACT, _BPF_OPS_LEN, _BPF_OPS, _BPF_FLAGS, _DIRECT_ACTION = 1, 4, 5, 8, 1
_ACT_KIND, _ACT_OPTIONS, _MIRRED_PARMS = 1, 2, 2
_TC_ACT_SHOT, _TC_ACT_STOLEN, _INGRESS_REDIRECT = 2, 4, 3
_PRIORITY = names.PRIORITIES.start


@dataclass(frozen=True, slots=True)
class Pair:
    """Both ends of a sink, by name and index."""

    near: str
    far: str
    near_index: int

    def cut(self, netlink: Netlink, packets: bool) -> None:
        """Whether what is redirected here is cut into single packets, or passes whole.

        :raises OSError: if the driver refuses.
        """
        offloads.write(netlink.sock, self.near, offloads.NONE if packets else WHOLE)


def make(netlink: Netlink, interface: Interface, direction: Direction) -> Pair:
    """Make a pair for one side of an interface, up, and redirected to by nobody yet.

    An ingress pair's near end has the interface's address and hands all that it receives on to the interface, as
    received there. The stack never sees what arrives at the far end.

    :raises OSError: if the kernel refuses; nothing is left then.
    """
    ingress = direction is Direction.INGRESS
    near, far = names.device("in" if ingress else "out"), names.device("far")
    index = netlink.add_link(
        near,
        "veth",
        peer=far,
        mtu=min(interface.mtu, MAX_MTU),
        mac=interface.mac if ingress else None,
        alias=names.ALIAS,
    )
    pair = Pair(near, far, index)
    try:
        far_index = netlink.link(far).index
        for end in (index, far_index):
            _silence(netlink, end)
            netlink.add_clsact(end)
        _drop_all(netlink, far_index)
        if ingress:
            _receive_on(netlink, index, interface.index)
        for end in (far_index, index):  # the second has carrier when it comes up, so that it takes packets at once
            netlink.set_link(end, up=True)
    except OSError:
        netlink.delete_link(index)
        raise
    return pair


def _silence(netlink: Netlink, index: int) -> None:
    """Keep the kernel from giving the end an IPv6 address; without IPv6 it does not anyway."""
    mode = nested(_IFLA_AF_SPEC, nested(_AF_INET6, attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([_ADDR_GEN_MODE_NONE]))))
    try:
        netlink.request(_RTM_SETLINK, struct.pack("=BxHiII", 0, 0, index, 0, 0) + mode)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL):
            raise


def _drop_all(netlink: Netlink, index: int) -> None:
    """Let the stack see nothing of what arrives; packet sockets come before this hook."""
    netlink.add_filter(index, HOOK_INGRESS, _PRIORITY, "bpf", _program(_TC_ACT_SHOT) + u32(_BPF_FLAGS, _DIRECT_ACTION))


def _receive_on(netlink: Netlink, index: int, target: int) -> None:
    """Let everything that arrives be received by another device (struct tc_mirred)."""
    redirect = struct.pack("=IIiiiiI", 0, 0, _TC_ACT_STOLEN, 0, 0, _INGRESS_REDIRECT, target)
    options = nested(_ACT_OPTIONS, attribute(_MIRRED_PARMS, redirect))
    action = nested(_BPF_ACT, nested(1, text(_ACT_KIND, "mirred"), options))
    netlink.add_filter(index, HOOK_INGRESS, _PRIORITY, "bpf", _program(ACCEPT) + action)


def _program(verdict: int) -> bytes:
    """cls_bpf options with the program ``return verdict``."""
    code = struct.pack("=HBBI", RETURN, 0, 0, verdict)
    return attribute(_BPF_OPS_LEN, struct.pack("=H", 1)) + attribute(_BPF_OPS, code)
