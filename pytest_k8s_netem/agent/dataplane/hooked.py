"""The filters of one side of a device as installed: put there, read back, taken off.

Every class becomes cls_bpf filters with a mirred redirect; a spared class becomes the same filters without action: its
packets pass, and no later filter is asked. Addresses that would take several programs are flower filters instead, where
the kernel has those. Two agents may serve one namespace for a while, since that of a killed run lives until its lease
ends; so each takes off what it knows by its own handles or its own action, never by priority alone.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace

from pytest_k8s_netem.agent.dataplane import clsbpf, flower, mirred, names
from pytest_k8s_netem.agent.dataplane.tc import GONE, Filter
from pytest_k8s_netem.model.observed import ClassObserved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from pytest_k8s_netem.agent.dataplane.assembler import Program
    from pytest_k8s_netem.agent.dataplane.netlink import Netlink
    from pytest_k8s_netem.model.plan import Direction

    Part: TypeAlias = "ByProgram | ByAddress"


@dataclass(slots=True)
class ByProgram:
    """A filter that takes what a program accepts.

    :ivar place: where it is, with a handle that no other one has. :ivar target: the device to redirect to; 0: its
        packets are spared.
    """

    class_id: str
    place: Filter
    program: Program
    target: int

    def add(self, netlink: Netlink) -> None:
        """Install it.

        :raises OSError: if the kernel refuses.
        """
        packed = clsbpf.options(self.program.code, names.class_id(self.place.priority), self.target)
        netlink.add_filters([replace(self.place, options=packed)])

    def read(self, listed: Mapping[int, Filter]) -> ClassObserved:
        """As the kernel holds it, by what is listed with its handle; a spared class has no counter."""
        entry = listed.get(self.place.handle)
        if entry is None or replace(entry, options=b"") != self.place:
            return ClassObserved()
        held = clsbpf.read(entry.options)
        as_installed = (held.code, held.target) == (self.program.code, self.target)
        return ClassObserved(as_installed, held.counted.packets, held.counted.bytes)

    def remove(self, netlink: Netlink) -> None:
        """Take it off.

        :raises OSError: if the kernel refuses, also when it is gone.
        """
        netlink.delete_filter(self.place)


@dataclass(slots=True)
class ByAddress:
    """Filters that take what is exchanged with any of many networks: one each, with one action and counter for all.

    They are all of a priority: whoever puts handle 1 there has it.

    :ivar place: where they are, with handle 1. :ivar target: the device to redirect to.
    """

    class_id: str
    place: Filter
    networks: Sequence[flower.Network]
    direction: Direction
    target: int
    action: int = field(default_factory=names.handle)
    _compared: bool = False

    def add(self, netlink: Netlink) -> None:
        """Install them, the first alone: with it the place and the action are this one's.

        :raises OSError: if the kernel refuses, EEXIST if the place is another one's; some may be there then.
        """
        at = self.place
        class_id = names.class_id(at.priority)
        every = flower.options(self.networks, self.direction, class_id, self.target, self.action)
        entries = [
            Filter(at.index, at.parent, at.priority, at.protocol, handle, at.kind, packed)
            for handle, packed in enumerate(every, at.handle)
        ]
        netlink.add_filters(entries[:1])
        netlink.add_filters(entries[1:])

    def read(self, netlink: Netlink) -> ClassObserved:
        """As the kernel holds them: each is compared once, then the action tells how many there are.

        It tells of one that was taken off a moment later.

        :raises OSError: if the kernel refuses.
        """
        if not self._is_place_ours(netlink):
            return ClassObserved()
        shared = mirred.of_action(netlink.action(mirred.KIND, self.action))
        self._compared = self._compared or self._is_whole(netlink)
        held = self._compared and (shared.filters, shared.target) == (len(self.networks), self.target)
        return ClassObserved(held, shared.counted.packets, shared.counted.bytes)

    def remove(self, netlink: Netlink) -> None:
        """Take them off: all at once, or each by itself where another one's are among them.

        :raises OSError: if the kernel refuses, also when they are gone.
        """
        if self._is_place_ours(netlink):
            netlink.delete_filter(replace(self.place, handle=0))
            return
        for entry in self._listed(netlink):
            if flower.action(entry.options) == self.action:
                netlink.delete_filter(entry)

    def _is_place_ours(self, netlink: Netlink) -> bool:
        first = netlink.filter_at(self.place)
        return first is not None and flower.action(first.options) == self.action

    def _is_whole(self, netlink: Netlink) -> bool:
        there = [flower.network(entry.options, self.direction) for entry in self._listed(netlink)]
        return sorted(there) == sorted(self.networks)

    def _listed(self, netlink: Netlink) -> list[Filter]:
        listed = netlink.filters(self.place.index, self.place.parent, self.place.priority)
        return [entry for entry in listed if entry.kind == "flower"]


class Hooked:
    """The filters of one side, first class first."""

    def __init__(self, netlink: Netlink, parts: Sequence[Part]) -> None:
        self._netlink = netlink
        self._parts = parts

    def add(self) -> None:
        """Install them, first class first.

        :raises OSError: if the kernel refuses; none of them is then left.
        """
        try:
            for part in self._parts:
                part.add(self._netlink)
        except OSError:
            with suppress(OSError):
                self.remove()
            raise

    def read(self) -> dict[str, ClassObserved]:
        """Each class as the kernel holds it, counted since it was installed; a spared class has no counter.

        :raises OSError: if the kernel refuses.
        """
        listed = self._programs()
        found: dict[str, ClassObserved] = {}
        for part in self._parts:
            seen = part.read(listed) if isinstance(part, ByProgram) else part.read(self._netlink)
            before = found.get(part.class_id, ClassObserved(held=True))
            found[part.class_id] = ClassObserved(
                before.held and seen.held, before.packets + seen.packets, before.bytes + seen.bytes
            )
        return found

    def remove(self) -> None:
        """Take these very filters off, last class first: no packet ever meets a later class than its own.

        :raises OSError: if the kernel refuses; all that could be removed is.
        """
        refused: OSError | None = None
        for part in reversed(self._parts):
            try:
                part.remove(self._netlink)
            except OSError as error:
                if error.errno not in GONE:
                    refused = error
        if refused is not None:
            raise refused

    def _programs(self) -> dict[int, Filter]:
        """What is there with a handle of ours."""
        places = [part.place for part in self._parts if isinstance(part, ByProgram)]
        listed = self._netlink.filters(places[0].index, places[0].parent) if places else []
        handles = {place.handle for place in places}
        return {entry.handle: entry for entry in listed if entry.handle in handles}
