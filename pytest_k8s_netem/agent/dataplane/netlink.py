"""The agent's only way to change the kernel: rtnetlink, packed with ``struct``."""

from __future__ import annotations

from pytest_k8s_netem.agent.dataplane.links import Address, Link, Links
from pytest_k8s_netem.agent.dataplane.names import is_ours
from pytest_k8s_netem.agent.dataplane.tc import Filter, Qdisc, TrafficControl
from pytest_k8s_netem.model.capabilities import Interface

__all__ = ["Address", "Filter", "Link", "Netlink", "Qdisc"]


class Netlink(Links, TrafficControl):
    """Links, addresses, routes, qdiscs and filters of one network namespace.

    Every method raises :class:`OSError` with the kernel's errno and, where it gives one, its own explanation.
    """

    def interfaces(self) -> tuple[Interface, ...]:
        """The namespace's devices, our own left out.

        :raises OSError: if the kernel refuses.
        """
        defaults = self.default_interfaces()
        addresses: dict[int, list[str]] = {}
        for address in self.addresses():
            addresses.setdefault(address.index, []).append(address.address)
        return tuple(
            Interface(
                link.name,
                link.index,
                link.mtu,
                link.mac,
                link.up,
                link.index in defaults[:1],
                tuple(addresses.get(link.index, ())),
            )
            for link in self.links()
            if not is_ours(link.name, link.alias)
        )
