"""The veth pair of a user-space sink: packets are redirected to the near end, the worker reads the far end."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from pytest_k8s_netem.agent.dataplane import clsbpf, mirred, names, offloads
from pytest_k8s_netem.agent.dataplane.assembler import ACCEPT
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

_TC_ACT_SHOT = 2  # linux/pkt_cls.h
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

    def unsent(self, netlink: Netlink) -> int:
        """Packets that were redirected here and never reached the far end.

        :raises OSError: ENETDOWN if an end was set down: then all are lost, and nobody counts them.
        """
        link = netlink.link(self.near_index)
        if not (link.up and link.carrier):
            raise OSError(errno.ENETDOWN, f"somebody has set {self.near} or {self.far} down")
        return link.unsent


NONE = Pair("", "", 0)
"""Devices that are not made (yet)."""


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
            netlink.without_ipv6(end)
        _drop_all(netlink, far_index)
        if ingress:
            _receive_on(netlink, index, interface.index)
        for end in (far_index, index):  # the second has carrier when it comes up, so that it takes packets at once
            netlink.set_link(end, up=True)
    except OSError:
        netlink.delete_link(index)
        raise
    return pair


def _drop_all(netlink: Netlink, index: int) -> None:
    """Let the stack see nothing of what arrives; packet sockets come before this hook."""
    netlink.add_clsact(index)
    netlink.add_filter(index, HOOK_INGRESS, _PRIORITY, "bpf", clsbpf.deciding(_TC_ACT_SHOT))


def _receive_on(netlink: Netlink, index: int, target: int) -> None:
    """Let everything that arrives be received by another device."""
    netlink.add_clsact(index)
    options = clsbpf.returning(ACCEPT) + mirred.redirect(clsbpf.ACT, target, received=True)
    netlink.add_filter(index, HOOK_INGRESS, _PRIORITY, "bpf", options)
