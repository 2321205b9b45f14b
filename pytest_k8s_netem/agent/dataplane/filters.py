"""Filters on a device's hooks: compiled, installed, told from other people's.

Ours have a priority of :data:`names.PRIORITIES` and a class id of ours.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import replace

from pytest_k8s_netem.agent.dataplane import bpf, clsbpf, flower, names
from pytest_k8s_netem.agent.dataplane.blocks import ETHERNET_FRAMES
from pytest_k8s_netem.agent.dataplane.hooked import ByAddress, ByProgram, Hooked
from pytest_k8s_netem.agent.dataplane.tc import GONE, HOOK_EGRESS, HOOK_INGRESS, Filter
from pytest_k8s_netem.model.plan import Direction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_k8s_netem.agent.dataplane.assembler import Program
    from pytest_k8s_netem.agent.dataplane.blocks import Layout
    from pytest_k8s_netem.agent.dataplane.hooked import Part
    from pytest_k8s_netem.agent.dataplane.netlink import Netlink
    from pytest_k8s_netem.model.plan import Class

HOOKS = {Direction.EGRESS: HOOK_EGRESS, Direction.INGRESS: HOOK_INGRESS}
_CLASS_ID = {"bpf": lambda raw: clsbpf.read(raw).classid, "flower": flower.class_id}
"""How a filter's class id is read, for each kind that we make."""


def install(
    netlink: Netlink,
    index: int,
    direction: Direction,
    classes: Sequence[Class],
    redirects: Mapping[str, int],
    *,
    layout: Layout = ETHERNET_FRAMES,
    by_address: bool = False,
) -> Hooked:
    """Put a class list on a hook, first class first, before ours that are there; they take packets at once.

    The device needs a clsact.

    :param redirects: device index by class id; a class that is not in it is spared.
    :param layout: of the device's frames.
    :param by_address: whether the kernel has flower, for sets of addresses that take several programs.
    :raises OSError: if the kernel refuses; none of these filters is then left.
    """
    compiled: list[tuple[str, Program | flower.Networks]] = []
    for entry in classes:
        compiled_by = bpf.compile_parts if by_address and entry.id in redirects else bpf.compile_matches
        compiled += [(entry.id, part) for part in compiled_by(entry.matches, direction, layout)]
    ranks = _ranks(compiled)
    count = ranks[-1] + 1 if ranks else 0
    base = _front(netlink, index, direction, count)
    while True:
        place = Filter(index, HOOKS[direction], base, 0, names.handle(), "bpf")
        hooked = Hooked(netlink, list(_parts(compiled, ranks, place, direction, redirects)))
        try:
            hooked.add()
        except OSError:
            free = _front(netlink, index, direction, count)
            if free == base:
                raise
            base = free  # another agent took that place since we looked
        else:
            return hooked


def let_marked_pass(netlink: Netlink, index: int, handle: int) -> Filter:
    """See to it that frames the user-space engine hands back pass our ingress filters (:data:`names.MARK`).

    :param handle: the agent's own, as each needs one such filter for itself.
    :return: what is to be deleted once there are no more ingress filters of that agent.
    :raises OSError: if the kernel refuses.
    """
    program = bpf.marked()
    packed = clsbpf.options(program.code, names.class_id(names.PASS))
    entry = Filter(index, HOOK_INGRESS, names.PASS, program.ether_type, handle, "bpf", packed)
    with suppress(FileExistsError):
        netlink.add_filters([entry])
    return entry


def is_ours(entry: Filter) -> bool:
    """Whether a filter on a hook was made here."""
    if entry.priority not in names.PRIORITIES or entry.kind not in _CLASS_ID:
        return False
    return _CLASS_ID[entry.kind](entry.options) & 0xFFFF0000 == names.CLASSES


def ours(netlink: Netlink, index: int, direction: Direction) -> list[Filter]:
    """Our filters on a hook, in their order, the one for marked frames too; flower filters as one, with handle 0.

    :raises OSError: if the kernel refuses.
    """
    found = [entry for entry in netlink.filters(index, HOOKS[direction]) if is_ours(entry)]
    return [replace(entry, handle=0) if entry.kind == "flower" else entry for entry in found]


def clear(netlink: Netlink, index: int) -> None:
    """Remove all our filters from both hooks of a device, those of an earlier life too.

    :raises OSError: if the kernel refuses.
    """
    for direction in Direction:
        for entry in reversed(ours(netlink, index, direction)):
            try:
                netlink.delete_filter(entry)
            except OSError as error:  # who put it there may take it off at this moment
                if error.errno not in GONE:
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


def _front(netlink: Netlink, index: int, direction: Direction, count: int) -> int:
    """The first of ``count`` free priorities before ours that are there; behind them once no room is left before.

    Behind serves too: old filters go last class first, so what they no longer take falls to the whole new list.
    """
    used = [entry.priority for entry in ours(netlink, index, direction) if entry.priority != names.PASS]
    before = min(used, default=names.PRIORITIES.stop) - count
    if before > names.PASS:
        return before
    behind = names.PRIORITIES.stop - count
    if behind <= max(used, default=names.PASS):
        raise OSError(errno.ENOSPC, f"no {count} free filter priorities on device {index}")
    return behind


def _ranks(compiled: Sequence[tuple[str, Program | flower.Networks]]) -> list[int]:
    """The priority of each, from 0: programs of one class and ether type share one, as asking another takes longer."""
    ranks: list[int] = []
    last = None
    for class_id, part in compiled:
        kind = None if isinstance(part, flower.Networks) else (class_id, part.ether_type)
        apart = kind is None or kind != last
        ranks.append(ranks[-1] + apart if ranks else 0)
        last = kind
    return ranks


def _parts(
    compiled: Sequence[tuple[str, Program | flower.Networks]],
    ranks: Sequence[int],
    first: Filter,
    direction: Direction,
    redirects: Mapping[str, int],
) -> Iterator[Part]:
    """What is to be installed, each with a handle of its own."""
    for at, ((class_id, part), rank) in enumerate(zip(compiled, ranks, strict=True)):
        place = replace(first, priority=first.priority + rank, protocol=part.ether_type, handle=first.handle + at)
        target = redirects.get(class_id, 0)
        if isinstance(part, flower.Networks):
            yield ByAddress(class_id, replace(place, handle=1, kind="flower"), part.pairs, direction, target)
        else:
            yield ByProgram(class_id, place, part, target)
