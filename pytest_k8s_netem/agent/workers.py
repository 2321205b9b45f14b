"""Watches the workers of the plan in force: a dead or hung one drops all it gets, and nobody else notices."""

from __future__ import annotations

from pytest_k8s_netem.model.impairment import SECOND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_k8s_netem.agent.change import Held
    from pytest_k8s_netem.agent.dataplane.engine import Sink
    from pytest_k8s_netem.agent.loop import Loop, Timer

PERIOD = SECOND
"""ns between two looks at workers that live: do they answer, do they keep up."""


class Workers:
    """The sinks with a worker that are in force in one target.

    :param broken: told that one can no longer be trusted. :param overloaded: told a stage id, once a stage.
    """

    def __init__(self, loop: Loop, broken: Callable[[], None], overloaded: Callable[[str], None]) -> None:
        self._loop = loop
        self._broken = broken
        self._overloaded = overloaded
        self._watched: set[int] = set()
        self._sinks: list[Sink] = []
        self._told: set[str] = set()
        self._timer: Timer | None = None

    def follow(self, held: Held | None) -> None:
        """Watch the workers of this plan, and no others."""
        found = {sink.watch(): sink for sink in (held.sinks() if held else ())}
        wanted = {fd for fd in found if fd is not None}
        for fd in self._watched - wanted:
            self._loop.forget(fd)
        for fd in wanted - self._watched:
            self._loop.watch(fd, lambda _events: self._broken())
        self._watched = wanted
        self._sinks = [sink for sink in (held.sinks() if held else ()) if sink.watch() is not None]
        self._told &= {stage.id for stage in held.plan.stages} if held else set()
        self._rearm()

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.after(PERIOD, self._look) if self._sinks else None

    def _look(self) -> None:
        self._rearm()
        for sink in self._sinks:
            try:
                stages = sink.read()
            except OSError:
                self._broken()
                return
            for name, seen in stages.items():
                if seen.overloaded and name not in self._told:
                    self._told.add(name)
                    self._overloaded(name)
