"""What an engine is to a target: a maker of sinks for one side (interface and direction) of a plan.

The target sees to the real interface: it has a clsact before a sink is built, and while there are filters on its
ingress hook, :func:`filters.let_marked_pass` is in force there. A sink touches nothing but its own devices and its
worker. Calls come from the agent's one thread, so none may wait for long; a worker that does not answer in time counts
as dead: it is killed, so that :meth:`Sink.watch` tells and no late answer is taken for another's.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from pytest_k8s_netem.model.capabilities import Interface
    from pytest_k8s_netem.model.impairment import Impairment
    from pytest_k8s_netem.model.observed import StageObserved
    from pytest_k8s_netem.model.plan import Class, Direction, Stage

    class Sink(Protocol):
        """Where one side's matched packets are redirected to, and how they come back impaired."""

        def redirect(self, class_id: str) -> int:
            """Index of the device that the class's filter redirects to (mirred, egress redirect)."""

        def hold(self, stage_id: str, impairment: Impairment) -> None:
            """Change a stage's parameters in place, without losing or reordering a packet.

            :raises OSError: if the kernel refuses; the stage then holds what it held before.
            """

        def fits(self, classes: Sequence[Class], stages: Mapping[str, Stage]) -> bool:
            """Whether these classes and stages can be held by this very sink, by :meth:`hold` alone."""

        def read(self) -> dict[str, StageObserved]:
            """Each stage as read back from the kernel or the worker.

            :raises OSError: if that cannot be read; a sink that has a worker is then healed.
            """

        def backlog(self) -> int:
            """Packets queued now."""

        def watch(self) -> int | None:
            """A descriptor that becomes readable when the sink is broken (its worker died); None = cannot break."""

        def close(self) -> None:
            """Begin to remove devices and worker, queued packets with them; never raises for what is gone already."""

        def gone(self) -> bool:
            """Whether nothing is left of what :meth:`close` began to remove."""

    class Engine(Protocol):
        """One engine within one target."""

        name: str

        def sink(
            self,
            interface: Interface,
            direction: Direction,
            classes: Sequence[Class],
            stages: Mapping[str, Stage],
            now: Mapping[str, Impairment],
        ) -> Sink:
            """Build a sink; nothing is redirected to it yet. ``now``: what each stage starts with.

            :raises OSError: if the kernel refuses; what was made is on its way out then.
            :raises ImpairmentError: if the plan cannot be held by this engine, naming the profiles.
            """

        def close(self) -> None:
            """Release what all sinks share, and wait for what is still on its way out."""
