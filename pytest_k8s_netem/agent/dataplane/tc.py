"""Qdiscs and filters (linux/rtnetlink.h, linux/pkt_sched.h, linux/pkt_cls.h)."""

from __future__ import annotations

import errno
import struct

from pytest_k8s_netem.agent.dataplane.attributes import attribute, by_type, nested, number, string, text, u32
from pytest_k8s_netem.agent.dataplane.transport import NLM_F_CREATE, NLM_F_EXCL, Transport
from pytest_k8s_netem.agent.early import socket
from pytest_k8s_netem.model.frozen import frozen

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46
RTM_GETACTION = 50
TC_H_ROOT, TC_H_CLSACT, CLSACT_HANDLE = 0xFFFFFFFF, 0xFFFFFFF1, 0xFFFF0000
HOOK_INGRESS, HOOK_EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
TCA_KIND, TCA_OPTIONS, TCA_STATS2, TCA_CHAIN = 1, 2, 7, 11
TCA_ACT_TAB, TCA_ACT_KIND, TCA_ACT_INDEX = 1, 1, 3
TCA_STATS_BASIC, TCA_STATS_QUEUE, TCA_STATS_PKT64 = 1, 3, 8
ETH_P_ALL = 0x0003

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

GONE = (errno.ENOENT, errno.ENODEV, errno.EINVAL)
"""What the kernel says when a filter, its device or its hook is no longer there."""

_TCMSG = struct.Struct("=BxxxiIII")
_FLOWER = text(TCA_KIND, "flower")
"""The first attribute of such a filter (tcf_fill_node of net/sched/cls_api.c)."""
_TCAMSG = struct.Struct("=Bxxx")


@frozen
class Stats:
    """Counters of a qdisc or an action: what left it, what it dropped, what waits in it."""

    bytes: int = 0
    packets: int = 0
    drops: int = 0
    waiting: int = 0


@frozen
class Qdisc:
    """A queueing discipline; ``options`` is the raw TCA_OPTIONS, read by whoever knows the kind."""

    index: int
    kind: str
    handle: int
    parent: int
    options: bytes = b""
    stats: Stats = Stats()


@frozen
class Filter:
    """A filter on a hook or qdisc; ``protocol`` is the ether type, ``options`` the raw TCA_OPTIONS."""

    index: int
    parent: int
    priority: int
    protocol: int
    handle: int
    kind: str
    options: bytes = b""


class TrafficControl(Transport):
    """The qdisc and filter messages of a socket."""

    def qdiscs(self, index: int | None = None) -> list[Qdisc]:
        """The qdiscs of a device, of all devices without ``index``.

        :raises OSError: if the kernel refuses.
        """
        found = self.listed(RTM_GETQDISC, _TCMSG.pack(0, 0, 0, 0, 0), _qdisc)  # of all devices, whichever is named
        return [qdisc for qdisc in found if index is None or qdisc.index == index]

    def add_qdisc(
        self, index: int, kind: str, options: bytes = b"", *, parent: int = TC_H_ROOT, handle: int = 0
    ) -> None:
        """Put a new qdisc in place; ``options`` is the payload of TCA_OPTIONS.

        :raises OSError: EEXIST if one is there, ENOENT if the kernel has no such kind.
        """
        self._qdisc(NLM_F_CREATE | NLM_F_EXCL, (index, handle, parent), kind, options)

    def change_qdisc(self, index: int, kind: str, options: bytes, *, parent: int = TC_H_ROOT, handle: int = 0) -> None:
        """Change a qdisc in place; what is queued stays queued.

        :raises OSError: if the kernel refuses; it then holds what it held before.
        """
        self._qdisc(0, (index, handle, parent), kind, options)

    def delete_qdisc(self, index: int, *, parent: int = TC_H_ROOT, handle: int = 0) -> None:
        """Remove a qdisc with everything below it, and all filters of a clsact.

        :raises OSError: ENOENT or EINVAL if there is none.
        """
        self.request(RTM_DELQDISC, _TCMSG.pack(0, index, handle, parent, 0))

    def add_clsact(self, index: int) -> bool:
        """See to it that the device has a clsact; return whether it was made now.

        Making it takes the device down for under a millisecond: up to sixteen packets in flight were lost.

        :raises OSError: if the kernel refuses, EEXIST too when an ``ingress`` qdisc stands in its place.
        """
        try:
            self.add_qdisc(index, "clsact", parent=TC_H_CLSACT, handle=CLSACT_HANDLE)
        except FileExistsError:
            if not any(qdisc.kind == "clsact" for qdisc in self.qdiscs(index)):
                raise
            return False
        return True

    def delete_clsact(self, index: int) -> None:
        """Remove the device's clsact with every filter on it, other people's too.

        :raises OSError: if there is none.
        """
        self.delete_qdisc(index, parent=TC_H_CLSACT, handle=CLSACT_HANDLE)

    def filters(self, index: int, parent: int, priority: int = 0) -> list[Filter]:
        """The filters of chain 0 of a hook (:data:`HOOK_INGRESS`, :data:`HOOK_EGRESS`) or qdisc, in their order.

        With ``priority`` all of that one; without, of flower filters, which may be thousands, the first of each
        priority stands for all. None where there is no such hook.

        :raises OSError: if the kernel refuses.
        """
        body = _TCMSG.pack(0, index, 0, parent, priority << 16)
        found = self.listed(RTM_GETTFILTER, body, _filter if priority else _FirstOfFlower())
        return [entry for entry in found if entry and entry.handle]  # handle 0 announces a priority, it is no filter

    def filter_at(self, entry: Filter) -> Filter | None:
        """The filter of that place, kind and handle; None where there is none. It must be small: a program may not be.

        :raises OSError: if the kernel refuses.
        """
        try:
            return _filter(self.request(RTM_GETTFILTER, _place(entry)))
        except OSError as error:
            if error.errno not in GONE:
                raise
            return None

    def add_filter(
        self,
        index: int,
        parent: int,
        priority: int,
        kind: str,
        options: bytes,
        *,
        protocol: int = ETH_P_ALL,
        handle: int = 0,
    ) -> None:
        """Add a filter; ``options`` is the payload of TCA_OPTIONS, ``protocol`` the ether type it sees.

        :raises OSError: if the kernel refuses.
        """
        self.add_filters([Filter(index, parent, priority, protocol, handle, kind, options)])

    def add_filters(self, entries: Sequence[Filter]) -> None:
        """Add many, in their order, many a request.

        :raises OSError: the first refusal; some that come later in the order may be there all the same.
        """
        bodies = [_place(entry) + attribute(TCA_OPTIONS, entry.options) for entry in entries]
        self.requests(RTM_NEWTFILTER, bodies, NLM_F_CREATE | NLM_F_EXCL)

    def delete_filter(self, entry: Filter) -> None:
        """Remove one filter; with handle 0 all of its priority and protocol.

        :raises OSError: ENOENT if it is gone already.
        """
        self.request(RTM_DELTFILTER, _place(entry))

    def action(self, kind: str, index: int) -> bytes:
        """The attributes (TCA_ACT_*) of an action that filters share by its index.

        :raises OSError: ENOENT if there is none.
        """
        asked = nested(1, text(TCA_ACT_KIND, kind), u32(TCA_ACT_INDEX, index))
        answer = self.request(RTM_GETACTION, _TCAMSG.pack(0) + nested(TCA_ACT_TAB, asked))
        return by_type(by_type(answer[_TCAMSG.size :]).get(TCA_ACT_TAB, b"")).get(1, b"")

    def _qdisc(self, flags: int, where: tuple[int, int, int], kind: str, options: bytes) -> None:
        body = _TCMSG.pack(0, *where, 0) + text(TCA_KIND, kind)
        self.request(RTM_NEWQDISC, body + (attribute(TCA_OPTIONS, options) if options else b""), flags)


def _place(entry: Filter) -> bytes:
    """What tells a filter from all others."""
    info = entry.priority << 16 | socket.htons(entry.protocol)
    return _TCMSG.pack(0, entry.index, entry.handle, entry.parent, info) + text(TCA_KIND, entry.kind)


def stats(data: bytes) -> Stats:
    """Read a TCA_STATS2 or TCA_ACT_STATS payload (linux/gen_stats.h)."""
    found = by_type(data)
    octets, packets = struct.unpack_from("=QI", found.get(TCA_STATS_BASIC, bytes(12)))
    waiting, _backlog, drops = struct.unpack_from("=III", found.get(TCA_STATS_QUEUE, bytes(12)))
    return Stats(octets, number(found.get(TCA_STATS_PKT64, b""), packets), drops, waiting)


def _qdisc(data: bytes) -> Qdisc:
    _family, index, handle, parent, _info = _TCMSG.unpack_from(data)
    found = by_type(data[_TCMSG.size :])
    return Qdisc(
        index,
        string(found.get(TCA_KIND, b"")),
        handle,
        parent,
        found.get(TCA_OPTIONS, b""),
        stats(found.get(TCA_STATS2, b"")),
    )


class _FirstOfFlower:
    """Reads the filters of a list, but of flower filters of one priority the first only; None for the others."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def __call__(self, data: bytes) -> Filter | None:
        _family, _index, handle, _parent, info = _TCMSG.unpack_from(data)
        if not handle or not data.startswith(_FLOWER, _TCMSG.size):
            return _filter(data)
        if info in self._seen:
            return None
        self._seen.add(info)
        return _filter(data)


def _filter(data: bytes) -> Filter:
    _family, index, handle, parent, info = _TCMSG.unpack_from(data)
    found = by_type(data[_TCMSG.size :])
    chained = number(found.get(TCA_CHAIN, b""))
    return Filter(
        index,
        parent,
        info >> 16,
        socket.ntohs(info & 0xFFFF),
        0 if chained else handle,
        string(found.get(TCA_KIND, b"")),
        found.get(TCA_OPTIONS, b""),
    )
