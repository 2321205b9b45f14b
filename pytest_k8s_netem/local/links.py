"""Namespaces, bridges, veths, addresses and routes of the embedded cluster, made by pyroute2."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass

from pytest_k8s_netem.local import batch, syscalls
from pytest_k8s_netem.local.batch import NODAD, family

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

_BRIDGE_MAC = "02:00:00:00:{:02x}:{:02x}"
"""Locally administered (IEEE 802, bit 0x02 of the first byte); each bridge is a network of its own."""
BRIDGE = "pods"
_SCOPE_LINK = 253
"""RT_SCOPE_LINK, include/uapi/linux/rtnetlink.h: the destination is on the wire itself."""
_POD_INDEX, _WIRE_INDEX = 1000, 100_000
"""First ifindexes of near ends. Two ends with the same number leave IPv6 unusable for up to 2 s after carrier."""

_EVERYWHERE = {
    "ipv6/conf/default/accept_dad": "0",  # before the links: else each link-local address is tentative for 1-2 s
    "ipv6/conf/all/accept_dad": "0",
}
_POD = {**_EVERYWHERE, "ipv4/ip_unprivileged_port_start": "0", "ipv4/ping_group_range": "0 2147483647"}
"""The last two are what container runtimes give their pods."""
_NODE = {**_EVERYWHERE, "ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1"}


@dataclass(slots=True)
class Node:
    """A router with a bridge for its pods; ``index`` is its number in the cluster, from 0."""

    index: int
    fd: int
    addresses: tuple[str, ...]
    cidrs: tuple[str, ...]
    netlink: Any
    bridge: int


@dataclass(slots=True)
class Pod:
    """A namespace with one veth to its node."""

    fd: int
    node: Node
    index: int


class Fabric:
    """All namespaces of a node host; operations raise KeyError for unknown names and OSError of the kernel."""

    def __init__(self) -> None:
        self.home = syscalls.open_namespace("net")
        self.ipv6 = os.path.exists("/proc/sys/net/ipv6")
        self.nodes: dict[str, Node] = {}
        self.pods: dict[str, Pod] = {}
        self._next = 0

    def namespace(self, name: str) -> int:
        """Descriptor of a pod (``namespace/name``) or node (``name``)."""
        return self.pods[name].fd if name in self.pods else self.nodes[name].fd

    def add_node(self, name: str, index: int, addresses: Sequence[str], gateways: Sequence[str]) -> None:
        """Make a node that is known by ``addresses`` and routes for the pod networks of ``gateways`` (with prefix)."""
        addresses, gateways = self._usable(addresses), self._usable(gateways)
        fd = self._new_namespace(_NODE)
        netlink = self._netlink(fd)
        netlink.link("set", index=1, state="up")
        for address in addresses:
            _add_address(netlink, 1, address, _full(address))
        # Without an address of its own a bridge has the lowest of its ports': it would change as pods come and go, and
        # pods that know the old one would send into nowhere until they ask again.
        own_mac = _BRIDGE_MAC.format(index >> 8, index & 0xFF)
        netlink.link("add", ifname=BRIDGE, kind="bridge", address=own_mac, state="up", br_mcast_snooping=0)
        bridge = self._index(fd, BRIDGE)
        node = Node(index, fd, tuple(addresses), tuple(map(_network, gateways)), netlink, bridge)
        for gateway, cidr, own in zip(gateways, node.cidrs, addresses, strict=True):
            address = gateway.partition("/")[0]
            _add_address(netlink, bridge, address, _full(address))
            # Health checks leave with the node's own address, so that pods can tell who asks.
            netlink.route("add", dst=cidr, oif=bridge, prefsrc=own, scope=_SCOPE_LINK, family=family(own))
        self.nodes[name] = node

    def add_wire(self, first: str, second: str) -> None:
        """Join two nodes, each then routes to the other and to its pods."""
        near, far = self.nodes[first], self.nodes[second]
        names = f"wire{far.index}", f"wire{near.index}"
        peer = {"ifname": names[1], "net_ns_fd": far.fd}
        index = _WIRE_INDEX + far.index
        near.netlink.link("add", ifname=names[0], kind="veth", index=index, state="up", peer=peer)
        other = self._index(far.fd, names[1])
        far.netlink.link("set", index=other, state="up")
        _route_between(near, index, far)
        _route_between(far, other, near)

    def add_pod(self, name: str, node_name: str, addresses: Sequence[str], gateways: Sequence[str]) -> None:
        """Make a pod with its addresses (with prefix) on eth0, and default routes by the gateways (without)."""
        node = self.nodes[node_name]
        fd = self._new_namespace(_POD)
        with _closed_unless_done(fd):
            index = _POD_INDEX + self._next
            self._next += 1
            peer = {"ifname": "eth0", "net_ns_fd": fd}
            node.netlink.link(
                "add", ifname=f"veth{index}", kind="veth", index=index, master=node.bridge, state="up", peer=peer
            )
            with syscalls.network(fd, self.home):
                eth0, sock = socket.if_nametoindex("eth0"), batch.open_socket()
            with sock:
                batch.settle(sock, eth0, self._usable(addresses), self._usable(gateways))
            self.pods[name] = Pod(fd, node, index)

    def forget_pod(self, name: str) -> Pod:
        """Let go of a pod; its namespace ends with the last process or socket in it.

        Its link ends by :func:`delete_link`; the descriptor is the caller's to close.
        """
        return self.pods.pop(name)

    def socket(self, name: str, family: int, kind: int, protocol: int) -> socket.socket:
        """A socket that lives in a namespace of ours, for somebody who does not."""
        with syscalls.network(self.namespace(name), self.home):
            return socket.socket(family, kind, protocol)

    def _new_namespace(self, settings: dict[str, str]) -> int:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        try:
            fd = syscalls.open_namespace("net")
            with _closed_unless_done(fd):
                for name, value in settings.items():
                    _write_setting(name, value)
        finally:
            syscalls.setns(self.home, syscalls.CLONE_NEWNET)
        return fd

    def _index(self, fd: int, name: str) -> int:
        with syscalls.network(fd, self.home):
            return socket.if_nametoindex(name)

    def _netlink(self, fd: int) -> Any:
        from pyroute2.iproute.linux import IPRoute

        with syscalls.network(fd, self.home):
            sock = batch.open_socket()
        return IPRoute(use_socket=sock)  # type: ignore[no-untyped-call]

    def _usable(self, addresses: Sequence[str]) -> list[str]:
        return [address for address in addresses if self.ipv6 or ":" not in address]


@contextlib.contextmanager
def _closed_unless_done(fd: int) -> Iterator[None]:
    """A namespace that could not be furnished goes, and with it its end of a link, and so the link."""
    try:
        yield
    except BaseException:
        os.close(fd)
        raise


def delete_link(pod: Pod) -> int:
    """Cut a pod off, also if a socket still holds its namespace; takes some 40 ms, so it is a child's work.

    :returns: 0, as exit status.
    """
    syscalls.setns(pod.node.fd, syscalls.CLONE_NEWNET)
    # the pod may have deleted its end, and with it ours
    with contextlib.suppress(OSError), batch.open_socket() as sock:
        batch.delete_link(sock, pod.index)
    return 0


def _route_between(near: Node, index: int, far: Node) -> None:
    for own, address, cidr in zip(near.addresses, far.addresses, far.cidrs, strict=True):
        ip = family(address)
        if ip == socket.AF_INET6:
            _add_address(near.netlink, index, own, _full(own))  # neighbour discovery answers for the device's own only
        host = f"{address}/{_full(address)}"
        near.netlink.route("add", dst=host, oif=index, prefsrc=own, scope=_SCOPE_LINK, family=ip)
        near.netlink.route("add", dst=cidr, gateway=address, oif=index, family=ip)


def _add_address(netlink: Any, index: int, address: str, prefix: int) -> None:
    flags = {"flags": NODAD} if ":" in address else {}
    netlink.addr("add", index=index, address=address, prefixlen=prefix, **flags)


def _write_setting(name: str, value: str) -> None:
    """Set a sysctl of the current namespace; forwarding must work, the rest is left as it is where it is read-only."""
    try:
        with open(f"/proc/sys/net/{name}", "w", encoding="ascii") as file:
            file.write(value)
    except OSError:
        if "forward" in name and os.path.exists(f"/proc/sys/net/{name}"):
            raise


def _full(address: str) -> int:
    return 128 if ":" in address else 32


def _network(gateway: str) -> str:
    import ipaddress

    return str(ipaddress.ip_interface(gateway).network)
