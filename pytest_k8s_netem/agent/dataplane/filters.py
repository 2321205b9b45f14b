"""Filters on a device's hooks: compiled, installed, read back, told from other people's.

Every class becomes cls_bpf filters with a mirred redirect; a spared class becomes the same filters without action: its
packets pass, and no later filter is asked. Ours have a priority of :data:`names.PRIORITIES` and a class id of ours.
Two agents may serve one namespace for a while, since that of a killed run lives until its lease ends; so each takes off
by its own handles, never by priority.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass

from pytest_k8s_netem.agent.dataplane import bpf, clsbpf, names
from pytest_k8s_netem.agent.dataplane.attributes import by_type, number, u32
from pytest_k8s_netem.agent.dataplane.tc import HOOK_EGRESS, HOOK_INGRESS, Filter, Stats, stats
from pytest_k8s_netem.model.observed import ClassObserved
from pytest_k8s_netem.model.plan import Direction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_k8s_netem.agent.dataplane.assembler import Program
    from pytest_k8s_netem.agent.dataplane.netlink import Netlink
    from pytest_k8s_netem.model.plan import Class

HOOKS = {Direction.EGRESS: HOOK_EGRESS, Direction.INGRESS: HOOK_INGRESS}
CLASSES = 0x4E45_0000
"""Major number of the class ids that our filters give."""
_PASS = names.PRIORITIES.start
"""Priority of the filter that lets marked frames pass: before all classes."""


@dataclass(frozen=True, slots=True)
class Held:
    """A cls_bpf filter's options as the kernel lists them; ``target`` 0: no redirect."""

    classid: int
    code: bytes
    target: int
    counted: Stats


def options(program: Program, classid: int, target: int = 0) -> bytes:
    """TCA_OPTIONS of a cls_bpf filter; ``target``: the device to redirect to, 0 = none."""
    packed = u32(clsbpf.CLASSID, classid) + clsbpf.program(program.code)
    return packed + (clsbpf.redirect(target) if target else b"")


def read(raw: bytes) -> Held:
    """Read what :func:`options` made and the kernel listed."""
    found = by_type(raw)
    action = by_type(by_type(found.get(clsbpf.ACT, b"")).get(1, b""))
    parameters = by_type(action.get(clsbpf.ACT_OPTIONS, b"")).get(clsbpf.MIRRED_PARMS, bytes(clsbpf.MIRRED.size))
    return Held(
        number(found.get(clsbpf.CLASSID, b"")),
        found.get(clsbpf.OPS, b""),
        clsbpf.MIRRED.unpack_from(parameters)[-1],
        stats(action.get(clsbpf.ACT_STATS, b"")),
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """One filter as it is to be; ``target`` 0: its packets are spared."""

    class_id: str
    priority: int
    program: Program
    target: int


class Hooked:
    """The filters of one side, as installed: all with one handle, which nobody else gives."""

    def __init__(self, netlink: Netlink, index: int, direction: Direction, wanted: Sequence[Wanted]) -> None:
        self._netlink = netlink
        self._index = index
        self._hook = HOOKS[direction]
        self._wanted = wanted
        self._handle = names.handle()

    def add(self) -> None:
        """Install them, first class first.

        :raises OSError: if the kernel refuses; none of them is then left.
        """
        try:
            for wanted in self._wanted:
                _add(self._netlink, self._entry(wanted), wanted)
        except OSError:
            with suppress(OSError):
                self.remove()
            raise

    def read(self) -> dict[str, ClassObserved]:
        """Each class as the kernel holds it, counted since it was installed; a spared class has no counter.

        :raises OSError: if the kernel refuses.
        """
        listed = self._netlink.filters(self._index, self._hook)
        there = {entry.priority: entry for entry in listed if entry.handle == self._handle}
        found: dict[str, ClassObserved] = {}
        for wanted in self._wanted:
            entry = there.get(wanted.priority)
            held = read(entry.options) if entry is not None and entry.kind == "bpf" else None
            before = found.get(wanted.class_id, ClassObserved(held=True))
            found[wanted.class_id] = ClassObserved(
                before.held
                and held is not None
                and entry is not None
                and entry.protocol == wanted.program.ether_type
                and (held.code, held.target) == (wanted.program.code, wanted.target),
                before.packets + (held.counted.packets if held else 0),
                before.bytes + (held.counted.bytes if held else 0),
            )
        return found

    def remove(self) -> None:
        """Take these very filters off, last class first: no packet ever meets a later class than its own.

        :raises OSError: if the kernel refuses; all that could be removed is.
        """
        refused: OSError | None = None
        for wanted in reversed(self._wanted):
            try:
                self._netlink.delete_filter(self._entry(wanted))
            except OSError as error:
                if error.errno not in _GONE:
                    refused = error
        if refused is not None:
            raise refused

    def _entry(self, wanted: Wanted) -> Filter:
        return Filter(self._index, self._hook, wanted.priority, wanted.program.ether_type, self._handle, "bpf")


_GONE = (errno.ENOENT, errno.ENODEV, errno.EINVAL)
"""What the kernel says when a filter, its device or its hook is no longer there."""


def install(
    netlink: Netlink, index: int, direction: Direction, classes: Sequence[Class], redirects: Mapping[str, int]
) -> Hooked:
    """Put a class list on a hook, first class first, before ours that are there; they take packets at once.

    The device needs a clsact.

    :param redirects: device index by class id; a class that is not in it is spared.
    :raises OSError: if the kernel refuses; none of these filters is then left.
    """
    compiled = [(entry.id, program) for entry in classes for program in bpf.compile_matches(entry.matches, direction)]
    base = _front(netlink, index, direction, len(compiled))
    wanted = [
        Wanted(class_id, base + at, program, redirects.get(class_id, 0))
        for at, (class_id, program) in enumerate(compiled)
    ]
    hooked = Hooked(netlink, index, direction, wanted)
    hooked.add()
    return hooked


def let_marked_pass(netlink: Netlink, index: int, handle: int) -> Filter:
    """See to it that frames the user-space engine hands back pass our ingress filters (:data:`names.MARK`).

    :param handle: the agent's own, as each needs one such filter for itself.
    :return: what is to be deleted once there are no more ingress filters of that agent.
    :raises OSError: if the kernel refuses.
    """
    wanted = Wanted("", _PASS, bpf.marked(), 0)
    entry = Filter(index, HOOK_INGRESS, _PASS, wanted.program.ether_type, handle, "bpf")
    with suppress(FileExistsError):
        _add(netlink, entry, wanted)
    return entry


def is_ours(entry: Filter) -> bool:
    """Whether a filter on a hook was made here."""
    if entry.priority not in names.PRIORITIES or entry.kind != "bpf":
        return False
    return read(entry.options).classid & 0xFFFF0000 == CLASSES


def ours(netlink: Netlink, index: int, direction: Direction) -> list[Filter]:
    """Our filters on a hook, in their order, the one for marked frames too.

    :raises OSError: if the kernel refuses.
    """
    return [entry for entry in netlink.filters(index, HOOKS[direction]) if is_ours(entry)]


def clear(netlink: Netlink, index: int) -> None:
    """Remove all our filters from both hooks of a device, those of an earlier life too.

    :raises OSError: if the kernel refuses.
    """
    for direction in Direction:
        for entry in reversed(ours(netlink, index, direction)):
            try:
                netlink.delete_filter(entry)
            except OSError as error:  # who put it there may take it off at this moment
                if error.errno not in _GONE:
                    raise


def foreign(netlink: Netlink, index: int) -> Iterator[str]:
    """Other people's qdiscs and filters on a device: ``netem at root``, ``u32 at egress, priority 10``.

    Qdiscs that the kernel puts there by itself have handle 0 and are left out.

    :raises OSError: if the kernel refuses.
    """
    for qdisc in netlink.qdiscs(index):
        if qdisc.handle and qdisc.kind != "clsact":
            place = "at root" if qdisc.parent == 0xFFFFFFFF else f"at {qdisc.parent >> 16:x}:{qdisc.parent & 0xFFFF:x}"
            yield f"{qdisc.kind} {place}"
    for direction, hook in HOOKS.items():
        seen = {(e.kind, e.priority): None for e in netlink.filters(index, hook) if not is_ours(e)}
        for kind, priority in seen:
            yield f"{kind} at {direction.value}, priority {priority}"


def _add(netlink: Netlink, entry: Filter, wanted: Wanted) -> None:
    packed = options(wanted.program, CLASSES | (wanted.priority - _PASS + 1), wanted.target)
    netlink.add_filter(
        entry.index, entry.parent, entry.priority, entry.kind, packed, protocol=entry.protocol, handle=entry.handle
    )


def _front(netlink: Netlink, index: int, direction: Direction, count: int) -> int:
    """The first of ``count`` free priorities before ours that are there; behind them once no room is left before.

    Behind serves too: old filters go last class first, so what they no longer take falls to the whole new list.
    """
    used = [entry.priority for entry in ours(netlink, index, direction) if entry.priority != _PASS]
    before = min(used, default=names.PRIORITIES.stop) - count
    if before > _PASS:
        return before
    behind = names.PRIORITIES.stop - count
    if behind <= max(used, default=_PASS):
        raise OSError(errno.ENOSPC, f"no {count} free filter priorities on device {index}")
    return behind
