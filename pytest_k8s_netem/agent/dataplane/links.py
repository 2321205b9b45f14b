"""Links, addresses and routes (rtnetlink(7), linux/if_link.h)."""

from __future__ import annotations

import errno
import struct

from pytest_k8s_netem.agent.dataplane.attributes import attribute, by_type, nested, number, string, text, u32
from pytest_k8s_netem.agent.dataplane.transport import NLM_F_CREATE, NLM_F_EXCL, Transport
from pytest_k8s_netem.agent.early import socket
from pytest_k8s_netem.model.frozen import frozen

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK, RTM_GETADDR, RTM_GETROUTE = 16, 17, 18, 19, 22, 26
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_TXQLEN, IFLA_LINKINFO, IFLA_IFALIAS = 1, 3, 4, 5, 13, 18, 20
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFLA_STATS64, IFLA_AF_SPEC, IFLA_INET6_ADDR_GEN_MODE = 23, 26, 8
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 31, 32
IFF_UP, IFF_LOWER_UP = 0x1, 0x10000
IFA_ADDRESS, IFA_LOCAL, RTA_OIF, RTA_PRIORITY, RTA_MULTIPATH = 1, 2, 4, 6, 9
RT_TABLE_MAIN, RTN_UNICAST = 254, 1

_IFINFOMSG = struct.Struct("=BxHiII")
_IFADDRMSG = struct.Struct("=BBBBI")
_RTMSG = struct.Struct("=BBBBBBBBI")
_STATS = struct.Struct("=8Q")
"""How struct rtnl_link_stats64 begins: packets, bytes, errors, drops, each received and sent."""


@frozen
class Link:
    """A network device.

    :ivar kind: ``veth``, ``ifb``, ``bridge`` ...; "" of physical and loopback devices.
    :ivar mac: ``02:00:00:00:00:01``; "" if it has none. :ivar alias: free text, "" = none.
    :ivar carrier: whether the layer below is there. :ivar peer: index of a veth's other end; 0 = none.
    :ivar unsent: packets that were to leave by it and were dropped. :ivar queue: transmit queue length in packets.
    :ivar inside: of an ``ifb``, packets that have left its qdisc and have not been given back yet.
    """

    index: int
    name: str
    kind: str = ""
    mtu: int = 0
    mac: str = ""
    up: bool = False
    carrier: bool = False
    alias: str = ""
    peer: int = 0
    unsent: int = 0
    queue: int = 0
    inside: int = 0


@frozen
class Address:
    """An address on a device, textual; ``index`` is the device's."""

    index: int
    family: int
    address: str
    length: int


class Links(Transport):
    """The link, address and route messages of a socket."""

    def links(self) -> list[Link]:
        """All devices of the namespace.

        :raises OSError: if the kernel refuses.
        """
        return self.listed(RTM_GETLINK, _IFINFOMSG.pack(0, 0, 0, 0, 0), _link)

    def link(self, which: str | int) -> Link:
        """The device of that name or index.

        :raises OSError: ENODEV if there is none.
        """
        index = which if isinstance(which, int) else 0
        name = b"" if isinstance(which, int) else text(IFLA_IFNAME, which)
        return _link(self.request(RTM_GETLINK, _IFINFOMSG.pack(0, 0, index, 0, 0) + name))

    def add_link(
        self,
        name: str,
        kind: str,
        *,
        index: int | None = None,
        peer: str | None = None,
        mtu: int | None = None,
        mac: str | None = None,
        alias: str = "",
        up: bool = False,
    ) -> int:
        """Make a device; return its index.

        Of a veth pair both ends are made here, with ``mtu``, ``alias`` and ``up``; index and mac are the near end's.
        Ends that move to other namespaces must keep different indexes: equal ones hold up carrier events, and with
        them IPv6, for a second or two.

        :raises OSError: if the kernel refuses; nothing is then left.
        """
        common = u32(IFLA_MTU, mtu) if mtu is not None else b""
        if peer is not None:  # else the kernel makes queues, and shows each in sysfs, for every processor there can be
            common += u32(IFLA_NUM_TX_QUEUES, 1) + u32(IFLA_NUM_RX_QUEUES, 1)
        info = text(IFLA_INFO_KIND, kind)
        if peer is not None:
            other = _IFINFOMSG.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, peer) + common
            info += nested(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, other))
        body = _IFINFOMSG.pack(0, 0, index or 0, 0, 0) + text(IFLA_IFNAME, name) + common
        if mac is not None:
            body += attribute(IFLA_ADDRESS, _mac(mac))
        self.request(RTM_NEWLINK, body + nested(IFLA_LINKINFO, info), NLM_F_CREATE | NLM_F_EXCL)
        made = self.link(name)
        if up or alias:  # an alias is not taken when the device is made, and a veth cannot be up before its peer is
            try:
                for end in (made.index, made.peer)[: 1 if peer is None else 2]:
                    self.set_link(end, up=up or None, alias=alias or None)
            except OSError:
                self.delete_link(made.index)
                raise
        return made.index

    def set_link(
        self,
        index: int,
        *,
        up: bool | None = None,
        mtu: int | None = None,
        mac: str | None = None,
        alias: str | None = None,
        queue: int | None = None,
    ) -> None:
        """Change what is given; ``queue`` is the transmit queue length in packets.

        :raises OSError: if the kernel refuses.
        """
        body = _IFINFOMSG.pack(0, 0, index, *((0, 0) if up is None else (IFF_UP * up, IFF_UP)))
        if mtu is not None:
            body += u32(IFLA_MTU, mtu)
        if queue is not None:
            body += u32(IFLA_TXQLEN, queue)
        if mac is not None:
            body += attribute(IFLA_ADDRESS, _mac(mac))
        if alias is not None:
            body += attribute(IFLA_IFALIAS, alias.encode())
        self.request(RTM_SETLINK, body)

    def without_ipv6(self, index: int) -> None:
        """Keep the kernel from giving the device IPv6 addresses, and with them traffic of its own, once it is up.

        Without effect in a kernel that has no IPv6.

        :raises OSError: if the kernel refuses.
        """
        mode = nested(IFLA_AF_SPEC, nested(socket.AF_INET6, attribute(IFLA_INET6_ADDR_GEN_MODE, b"\1")))
        try:
            self.request(RTM_SETLINK, _IFINFOMSG.pack(0, 0, index, 0, 0) + mode)
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL):
                raise

    def delete_link(self, index: int) -> None:
        """Remove a device; of a veth pair both ends.

        :raises OSError: ENODEV if it is gone already.
        """
        self.request(RTM_DELLINK, _IFINFOMSG.pack(0, 0, index, 0, 0))

    def remove_link(self, index: int) -> None:
        """As :meth:`delete_link`, for a child that shares the socket with its parent: it reads no answer."""
        self.tell(RTM_DELLINK, _IFINFOMSG.pack(0, 0, index, 0, 0))

    def addresses(self) -> list[Address]:
        """All IPv4 and IPv6 addresses of the namespace.

        :raises OSError: if the kernel refuses.
        """
        dumped = self.dump(RTM_GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0))
        return [address for address in map(_address, dumped) if address is not None]

    def default_interfaces(self) -> tuple[int, ...]:
        """Indexes of the devices that the main table's default routes go out of: IPv4's first, best metric first.

        :raises OSError: if the kernel refuses.
        """
        found: list[tuple[int, int, int]] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            for data in self.dump(RTM_GETROUTE, _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
                found += [(family, metric, index) for metric, index in _default_route(data)]
        return tuple(dict.fromkeys(index for _family, _metric, index in sorted(found)))


def _mac(written: str) -> bytes:
    return bytes.fromhex(written.replace(":", ""))


def _link(data: bytes) -> Link:
    _family, _type, index, flags, _change = _IFINFOMSG.unpack_from(data)
    found = by_type(data[_IFINFOMSG.size :])
    received, sent, _, _, _, _, refused, unsent = _STATS.unpack_from(found.get(IFLA_STATS64, bytes(_STATS.size)))
    kind = string(by_type(found.get(IFLA_LINKINFO, b"")).get(IFLA_INFO_KIND, b""))
    inside = received - refused - sent - unsent  # ifb_xmit and ifb_ri_tasklet of drivers/net/ifb.c
    return Link(
        index,
        string(found.get(IFLA_IFNAME, b"")),
        kind=kind,
        mtu=number(found.get(IFLA_MTU, b"")),
        mac=found.get(IFLA_ADDRESS, b"").hex(":"),
        up=bool(flags & IFF_UP),
        carrier=bool(flags & IFF_LOWER_UP),
        alias=string(found.get(IFLA_IFALIAS, b"")),
        peer=number(found.get(IFLA_LINK, b"")),
        unsent=unsent,
        queue=number(found.get(IFLA_TXQLEN, b"")),
        inside=inside if kind == "ifb" else 0,
    )


def _address(data: bytes) -> Address | None:
    family, length, _flags, _scope, index = _IFADDRMSG.unpack_from(data)
    found = by_type(data[_IFADDRMSG.size :])
    raw = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS)
    if raw is None or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return Address(index, family, socket.inet_ntop(family, raw), length)


def _default_route(data: bytes) -> list[tuple[int, int]]:
    """(metric, device index) of each next hop of a default route of the main table; none of any other."""
    _family, length, _source, _tos, table, _protocol, _scope, kind, _flags = _RTMSG.unpack_from(data)
    if length or table != RT_TABLE_MAIN or kind != RTN_UNICAST:
        return []
    found = by_type(data[_RTMSG.size :])
    metric = number(found.get(RTA_PRIORITY, b""))
    if RTA_MULTIPATH not in found:
        return [(metric, number(found[RTA_OIF]))] if RTA_OIF in found else []
    hops, rest = [], found[RTA_MULTIPATH]
    while len(rest) >= 8:  # struct rtnexthop: length, flags, hops, index
        size, _hop_flags, _hops, index = struct.unpack_from("=HBBi", rest)
        hops.append((metric, index))
        rest = rest[max(size + (-size % 4), 8) :]
    return hops
