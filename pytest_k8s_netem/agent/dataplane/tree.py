"""One ifb and the qdiscs on it: a tree of stages that packets pass from the root on.

::

    ifb -- [tbf] -- netem A -- prio +- pfifo      packets that end behind A
                                    +- netem B    packets that pass B too, by the same filters as on the hook
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass

from pytest_k8s_netem.agent.dataplane import bpf, clsbpf, names, netem
from pytest_k8s_netem.agent.dataplane.attributes import attribute, u32
from pytest_k8s_netem.agent.dataplane.blocks import Layout
from pytest_k8s_netem.agent.dataplane.removal import Removal
from pytest_k8s_netem.agent.dataplane.tc import TC_H_ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_k8s_netem.agent.dataplane.chains import Node
    from pytest_k8s_netem.agent.dataplane.netlink import Netlink
    from pytest_k8s_netem.agent.dataplane.tc import Qdisc
    from pytest_k8s_netem.model.capabilities import Interface
    from pytest_k8s_netem.model.impairment import Impairment
    from pytest_k8s_netem.model.plan import Stage

_TBF_PARMS, _TBF_BURST = 1, 6
_TBF_RATE = 30_000_000_000 // 8
"""Bytes a second: above what one core carries, within the 32 bits of struct tc_ratespec."""
_ETHERNET = 1
"""TC_LINKLAYER_ETHERNET of linux/pkt_sched.h."""
_HEADROOM = 64
"""Bytes that a frame may have beyond the MTU: Ethernet, VLAN tags; two full frames never fit."""
_TBF_LIMIT = 100 << 20
_PASSING = struct.pack("=I", 1 << 20)
"""Packets in the fifo behind a stage; all that is in it leaves at once."""


@dataclass(slots=True)
class Placed:
    """A stage's netem: where it stands, what it was last told, which distributions it ever got: netem forgets none."""

    stage: str
    parent: int
    handle: int
    sent: Impairment
    above: Placed | None = None
    tables: bool = False
    slot_table: bool = False

    def told(self, impairment: Impairment) -> None:
        """Note what netem was told."""
        self.sent = impairment
        self.tables |= impairment.table is not None
        self.slot_table |= impairment.slot.delay > 0


class Tree:
    """Makes the device and its qdiscs; ``segmented``: GSO superpackets are cut into packets before the first stage.

    :raises OSError: from the constructor, if the kernel refuses; nothing is then left.
    """

    def __init__(
        self,
        netlink: Netlink,
        interface: Interface,
        root: Node,
        stages: Mapping[str, Stage],
        now: Mapping[str, Impairment],
        *,
        segmented: bool,
    ) -> None:
        self._netlink = netlink
        self._stages = stages
        self._now = now
        self._layout = Layout.of(interface.mac)
        self._major = 0
        self.segmented = segmented
        self.placed: list[Placed] = []
        self.index = netlink.add_link(names.device("ifb"), "ifb", mtu=interface.mtu, alias=names.ALIAS)
        try:
            netlink.without_ipv6(self.index)
            self._grow(root, self._segment(interface.mtu) if segmented else TC_H_ROOT)
            netlink.set_link(self.index, up=True)
        except OSError:
            with suppress(OSError):
                netlink.delete_link(self.index)
            raise

    def hold(self, placed: Placed, impairment: Impairment) -> None:
        """Change a netem in place.

        :raises OSError: if the kernel refuses; it then holds what it held.
        """
        options = self._options(placed, impairment)
        self._netlink.change_qdisc(self.index, "netem", options, parent=placed.parent, handle=placed.handle)
        placed.told(impairment)

    def read(self) -> dict[int, Qdisc]:
        """The device's qdiscs by handle; {} if it is gone or down.

        :raises OSError: if the kernel refuses.
        """
        try:
            if not self._netlink.link(self.index).up:
                return {}
        except OSError:
            return {}
        return {qdisc.handle: qdisc for qdisc in self._netlink.qdiscs(self.index)}

    def waiting(self) -> int:
        """Packets that are queued, or that the device has taken from its qdiscs and not given back yet.

        May count one twice, is 0 only when none is there.

        :raises OSError: if the kernel refuses, ENODEV if the device is gone.
        """
        qdiscs = {qdisc.handle: qdisc for qdisc in self._netlink.qdiscs(self.index)}
        queued = sum(qdiscs[placed.handle].stats.waiting for placed in self.placed if placed.handle in qdiscs)
        return queued + self._netlink.link(self.index).inside  # read last: a packet goes this way

    def close(self) -> Removal:
        """Begin to remove the device with all that is queued on it."""
        return Removal(self._netlink, self.index)

    def _handle(self) -> int:
        self._major += 1
        return self._major << 16

    def _options(self, placed: Placed, impairment: Impairment) -> bytes:
        return netem.encode(impairment, self._stages[placed.stage].seed, tables=placed.tables)

    def _segment(self, mtu: int) -> int:
        """A tbf that never waits but cuts whatever is longer than its burst (tbf_segment of sch_tbf.c)."""
        handle = self._handle()
        rate = struct.pack("=BBHhHI", 0, _ETHERNET, 0, 0, 0, _TBF_RATE)
        parameters = rate + bytes(12) + struct.pack("=III", _TBF_LIMIT, 0, 0)
        options = attribute(_TBF_PARMS, parameters) + u32(_TBF_BURST, mtu + _HEADROOM)
        self._netlink.add_qdisc(self.index, "tbf", options, handle=handle)
        return handle | 1

    def _grow(self, node: Node, parent: int, above: Placed | None = None) -> None:
        placed = Placed(node.stage, parent, self._handle(), self._now[node.stage], above)
        options = self._options(placed, placed.sent)
        self._netlink.add_qdisc(self.index, "netem", options, parent=parent, handle=placed.handle)
        placed.told(placed.sent)
        self.placed.append(placed)
        if not node.children:
            return
        if len(node.children) == 1 and not node.ends:
            [only] = node.children.values()
            self._grow(only, placed.handle | 1, placed)
        else:
            self._branch(node, placed)

    def _branch(self, node: Node, placed: Placed) -> None:
        """Part the packets behind a stage: band 1 ends here, each further band goes on to a stage."""
        handle = self._handle()
        bands = {stage: at for at, stage in enumerate(node.children, 2)}
        priomap = struct.pack("=i16x", len(bands) + 1)  # struct tc_prio_qopt: all unclassified to band 1
        self._netlink.add_qdisc(self.index, "prio", priomap, parent=placed.handle | 1, handle=handle)
        self._netlink.add_qdisc(self.index, "pfifo", _PASSING, parent=handle | 1, handle=self._handle())
        for stage, child in node.children.items():
            self._grow(child, handle | bands[stage], placed)
        priority = 0
        for entry in node.classes:
            follows = entry.stages[node.depth + 1 : node.depth + 2]
            band = bands[follows[0]] if follows else 1
            for program in bpf.compile_matches(entry.matches, entry.direction, self._layout):
                priority += 1
                self._netlink.add_filter(
                    self.index,
                    handle,
                    priority,
                    "bpf",
                    clsbpf.options(program.code, handle | band),
                    protocol=program.ether_type,
                )
