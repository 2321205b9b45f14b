"""The chains of stages that classes pass, as a forest: what begins alike shares its devices."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.model.impairment import EveryNth
from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_k8s_netem.model.impairment import Impairment
    from pytest_k8s_netem.model.plan import Class, Stage

MAX_BRANCHES = 15
"""Chains that may go on differently behind one stage: TCQ_PRIO_BANDS of linux/pkt_sched.h, less one."""
MAX_JITTER = 2**31 - 1
"""ns; netem caps what is longer (s32 sigma of tabledist in net/sched/sch_netem.c)."""


@dataclass(slots=True)
class Node:
    """A stage in its place.

    :ivar classes: those that come this way, in order. :ivar ends: whether some of them go no further.
    """

    stage: str
    children: dict[str, Node] = field(default_factory=dict)
    classes: list[Class] = field(default_factory=list)
    depth: int = 0

    @property
    def ends(self) -> bool:
        """Whether a class's last stage is this one."""
        return any(len(entry.stages) == self.depth + 1 for entry in self.classes)

    def walk(self) -> Iterator[Node]:
        """This node and all below it, a parent before its children."""
        yield self
        for child in self.children.values():
            yield from child.walk()


def forest(classes: Sequence[Class]) -> dict[str, Node]:
    """The roots by stage id; spared classes have none."""
    roots: dict[str, Node] = {}
    for entry in classes:
        level = roots
        for depth, stage in enumerate(entry.stages):
            node = level.setdefault(stage, Node(stage, depth=depth))
            node.classes.append(entry)
            level = node.children
    return roots


def check(roots: Mapping[str, Node], stages: Mapping[str, Stage]) -> None:
    """Refuse what netem cannot hold.

    :raises ImpairmentError: naming the profiles, all reasons in one.
    """
    nodes = [node for root in roots.values() for node in root.walk()]
    problems = [*_parted(nodes, stages), *_branches(nodes, stages), *_duplicating(nodes, stages)]
    for name in dict.fromkeys(node.stage for node in nodes):
        for impairment in stages[name].timeline.impairments:
            problems += [problem.under(stages[name].profile) for problem in _impossible(impairment)]
        problems += _mixed_slots(stages[name])
    if problems:
        raise ImpairmentError("the kernel engine cannot hold this plan", dict.fromkeys(problems))


def _parted(nodes: Sequence[Node], stages: Mapping[str, Stage]) -> Iterator[Problem]:
    """A stage in two places would be two queues, so only one without state may stand in both."""
    ways: dict[str, dict[tuple[str, ...], None]] = {}
    for node in nodes:
        ways.setdefault(node.stage, {})[node.classes[0].stages[: node.depth]] = None
    for name, before in ways.items():
        if len(before) < 2 or all(part.stateless for part in stages[name].timeline.impairments):
            continue
        others = dict.fromkeys(stages[other].profile for way in before for other in way)
        yield Problem(
            stages[name].profile,
            "",
            f"takes packets that {' and '.join(others)} takes too and others besides; its queue cannot stand "
            "both behind that profile's and alone",
            "let one profile's packets contain the other's, or use --netem-engine=userspace",
        )


def _branches(nodes: Sequence[Node], stages: Mapping[str, Stage]) -> Iterator[Problem]:
    for node in nodes:
        if len(node.children) > MAX_BRANCHES:
            why = f"{len(node.children)} profiles follow it on parts of its packets; {MAX_BRANCHES} fit"
            yield Problem(stages[node.stage].profile, "", why, "use --netem-engine=userspace")


def _duplicating(nodes: Sequence[Node], stages: Mapping[str, Stage]) -> Iterator[Problem]:
    """netem queues the copy at the device's root: behind another stage it would pass that one twice."""
    for node in nodes:
        if node.depth and any(part.duplicate for part in stages[node.stage].timeline.impairments):
            first = stages[node.classes[0].stages[0]].profile
            yield Problem(
                f"{stages[node.stage].profile}.duplicate",
                "",
                f"duplicates packets that {first} takes before it; netem would send the copies through that one again",
                "let the duplicating profile come first, or use --netem-engine=userspace",
            )


def _impossible(impairment: Impairment) -> Iterator[Problem]:
    if isinstance(impairment.loss, EveryNth):
        yield Problem("loss", "", "netem cannot drop every n-th packet", "use --netem-engine=userspace")
    if impairment.ordered and impairment.jitter:
        yield Problem("ordered", "", "netem's jitter reorders packets", "use --netem-engine=userspace")
    for name, jitter in (("jitter", impairment.jitter), ("slot.jitter", impairment.slot.jitter)):
        if jitter > MAX_JITTER:
            yield Problem(name, f"{jitter}ns", "netem holds at most 2147483647 ns", "use --netem-engine=userspace")


def _mixed_slots(stage: Stage) -> Iterator[Problem]:
    """netem cannot be told to forget a slot distribution, which then hides the bounds."""
    slots = [part.slot for part in stage.timeline.impairments if part.slot]
    if any(slot.delay for slot in slots) and any(not slot.delay for slot in slots):
        why = "a timeline cannot go from slots with a distribution to slots with bounds"
        yield Problem(f"{stage.profile}.slot", "", why, "use one kind in all segments")
