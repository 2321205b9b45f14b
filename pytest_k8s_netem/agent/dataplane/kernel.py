"""The kernel engine: a stage is a netem qdisc on an ifb, which matched packets are redirected to."""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import replace

from pytest_k8s_netem.agent.dataplane import netem
from pytest_k8s_netem.agent.dataplane.chains import check, forest
from pytest_k8s_netem.agent.dataplane.removal import Endings
from pytest_k8s_netem.agent.dataplane.tree import Tree
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.model.observed import StageObserved
from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_k8s_netem.agent.dataplane.chains import Node
    from pytest_k8s_netem.agent.dataplane.netlink import Netlink
    from pytest_k8s_netem.agent.dataplane.removal import Removal
    from pytest_k8s_netem.agent.dataplane.tc import Qdisc
    from pytest_k8s_netem.agent.dataplane.tree import Placed
    from pytest_k8s_netem.model.capabilities import Interface
    from pytest_k8s_netem.model.impairment import Impairment
    from pytest_k8s_netem.model.plan import Class, Direction, Stage


class KernelEngine:
    """Makes sinks in one network namespace; see :class:`~engine.Engine`."""

    name = "kernel"

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink
        self._endings = Endings()

    def sink(
        self,
        interface: Interface,
        direction: Direction,  # noqa: ARG002  an ifb gives frames back to where they came from, either way
        classes: Sequence[Class],
        stages: Mapping[str, Stage],
        now: Mapping[str, Impairment],
    ) -> KernelSink:
        """Build a sink; nothing is redirected to it yet.

        :raises OSError: if the kernel refuses; what was made is on its way out then.
        :raises ImpairmentError: if netem cannot hold the plan, naming the profiles.
        """
        roots = forest(classes)
        check(roots, stages)
        trees: dict[str, Tree] = {}
        try:
            for name, root in roots.items():
                segmented = _counts(root, stages, now)
                trees[name] = Tree(self._netlink, interface, root, stages, now, segmented=segmented)
                _try_duplicating(trees[name], stages)
        except OSError as error:
            for tree in trees.values():
                self._endings.add(tree.close())
            _raise_if_duplicating(error, stages)
            raise
        return KernelSink(classes, stages, trees, self._endings)

    def close(self) -> None:
        """Wait for devices that are on their way out; nothing is shared by sinks."""
        self._endings.wait()


class KernelSink:
    """The trees of one side; see :class:`~engine.Sink`."""

    def __init__(
        self, classes: Sequence[Class], stages: Mapping[str, Stage], trees: Mapping[str, Tree], endings: Endings
    ) -> None:
        self._classes = tuple(classes)
        self._stages = stages
        self._trees = trees
        self._endings = endings
        self._left: list[Removal] | None = None

    def redirect(self, class_id: str) -> int:
        """The ifb of the class's first stage.

        :raises KeyError: if there is no such class, or it is spared.
        """
        for entry in self._classes:
            if entry.id == class_id and entry.stages:
                return self._trees[entry.stages[0]].index
        raise KeyError(class_id)

    def hold(self, stage_id: str, impairment: Impairment) -> None:
        """Change a stage in place, in all places where it stands.

        :raises OSError: if the kernel refuses; every place then holds what it held.
        """
        changed: list[tuple[Tree, Placed, Impairment]] = []
        try:
            for tree, placed in self._places(stage_id):
                if impairment.counts_packets and not tree.segmented:
                    raise OSError(errno.EINVAL, f"the sink of {stage_id} does not part superpackets into packets")
                before = placed.sent
                tree.hold(placed, impairment)
                changed.append((tree, placed, before))
        except OSError:
            for tree, placed, before in changed:
                with suppress(OSError):
                    tree.hold(placed, before)
            raise

    def fits(self, classes: Sequence[Class], stages: Mapping[str, Stage]) -> bool:
        """Whether the same classes pass the same stages, and no stage needs what its tree has not."""
        known = {entry.id: entry for entry in self._classes}
        if any(entry.id not in known or known[entry.id].stages != entry.stages for entry in classes):
            return False
        roots = forest(classes)
        try:
            check(roots, stages)
        except ImpairmentError:
            return False
        if set(roots) != set(self._trees):
            return False
        before = forest(self._classes)
        return all(
            _names(root) == _names(before[name])
            and _parts(root) == _parts(before[name])
            and (self._trees[name].segmented or not _counts(root, stages, {}))
            and all(self._suits(placed, stages[placed.stage]) for placed in self._trees[name].placed)
            for name, root in roots.items()
        )

    def read(self) -> dict[str, StageObserved]:
        """Each stage as the kernel holds it; one whose qdisc, or device, is gone or down holds nothing.

        :raises OSError: if the kernel refuses.
        """
        found: dict[str, StageObserved] = {}
        for tree in self._trees.values():
            qdiscs = tree.read()
            for placed in tree.placed:
                seen = _observed(placed, qdiscs.get(placed.handle), _lost_below(placed, tree, qdiscs))
                found[placed.stage] = _together(found[placed.stage], seen, placed) if placed.stage in found else seen
        return found

    def backlog(self) -> int:
        """Packets in the sink now; may count one twice where stages are nested, is 0 only when none is there."""
        return sum(tree.waiting() for tree in self._trees.values())

    def watch(self) -> int | None:
        """Nothing of it can die by itself."""
        return None

    def close(self) -> None:
        """Begin to remove the devices, queued packets with them."""
        if self._left is None:
            self._left = [tree.close() for tree in self._trees.values()]
            for removal in self._left:
                self._endings.add(removal)

    def gone(self) -> bool:
        """Whether the devices are gone."""
        return all(removal.over() for removal in self._left or ())

    def _suits(self, placed: Placed, stage: Stage) -> bool:
        """Whether this netem can become what the stage asks for: its seed is set once, its slot table stays."""
        bounded = any(part.slot and not part.slot.delay for part in stage.timeline.impairments)
        return stage.seed == self._stages[stage.id].seed and not (placed.slot_table and bounded)

    def _places(self, stage_id: str) -> Iterator[tuple[Tree, Placed]]:
        for tree in self._trees.values():
            for placed in tree.placed:
                if placed.stage == stage_id:
                    yield tree, placed


def _names(root: Node) -> list[str]:
    return [node.stage for node in root.walk()]


def _counts(root: Node, stages: Mapping[str, Stage], now: Mapping[str, Impairment]) -> bool:
    """Whether a stage of the tree ever acts on packets by number."""
    return any(
        part.counts_packets
        for name in _names(root)
        for part in (*stages[name].timeline.impairments, *([now[name]] if name in now else ()))
    )


def _parts(root: Node) -> list[tuple[str, list[Class]]]:
    """What the filters inside the tree are made of; [] if it has none."""
    return [
        (node.stage, [replace(entry, id="") for entry in node.classes])
        for node in root.walk()
        if node.children and (node.ends or len(node.children) > 1)
    ]


def _lost_below(placed: Placed, tree: Tree, qdiscs: Mapping[int, Qdisc]) -> int:
    """Packets that the stages next below dropped: netem counts them as its own too (netem_dequeue)."""
    return sum(qdiscs[p.handle].stats.drops for p in tree.placed if p.above is placed and p.handle in qdiscs)


def _observed(placed: Placed, qdisc: Qdisc | None, lost_below: int) -> StageObserved:
    if qdisc is None or qdisc.kind != "netem" or qdisc.parent != placed.parent:
        return StageObserved()
    return StageObserved(
        held=netem.decode(qdisc.options, placed.sent),
        passed=qdisc.stats.packets + lost_below,
        dropped=max(qdisc.stats.drops - lost_below, 0),
        backlog=qdisc.stats.waiting,
    )


def _together(one: StageObserved, other: StageObserved, placed: Placed) -> StageObserved:
    """Two places of a stage as one: counters added; what is held is what deviates, if one does."""
    right = netem.decode(netem.encode(placed.sent), placed.sent)
    return StageObserved(
        held=other.held if one.held == right else one.held,
        passed=one.passed + other.passed,
        dropped=one.dropped + other.dropped,
        backlog=one.backlog + other.backlog,
    )


def _try_duplicating(tree: Tree, stages: Mapping[str, Stage]) -> None:
    """Where a stage duplicates later in its timeline only, have the kernel refuse it now; no packet is there yet."""
    for placed in tree.placed if len(tree.placed) > 1 else ():
        for later in stages[placed.stage].timeline.impairments:
            if later.duplicate and not placed.sent.duplicate:
                before = placed.sent
                tree.hold(placed, later)
                tree.hold(placed, before)


def _raise_if_duplicating(error: OSError, stages: Mapping[str, Stage]) -> None:
    """Some kernels refuse a duplicating netem beside another one; say whose it is.

    :raises ImpairmentError: if that is what the kernel said.
    """
    if error.errno != errno.EINVAL or "duplicating netem" not in str(error):
        return
    asking = [s.profile for s in stages.values() if any(part.duplicate for part in s.timeline.impairments)]
    problem = Problem(
        f"{' and '.join(dict.fromkeys(asking))}.duplicate",
        "",
        f"this kernel does not duplicate packets that another profile impairs too ({error.strerror})",
        "part the profiles' packets, or use --netem-engine=userspace",
    )
    raise ImpairmentError("the kernel engine cannot hold this plan", [problem]) from error
