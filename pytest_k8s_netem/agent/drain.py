"""Sinks that get no more packets: they deliver what they have, for a second at most, and go."""

from __future__ import annotations

from pytest_k8s_netem.agent.loop import guarded
from pytest_k8s_netem.model.impairment import MILLISECOND, SECOND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_k8s_netem.agent.dataplane.engine import Sink
    from pytest_k8s_netem.agent.loop import Loop

LONGEST = SECOND
"""ns that queued packets get."""
POLL = 5 * MILLISECOND


class Drains:
    """The sinks of one target that are on their way out."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._open = 0
        self._waiting: list[Callable[[], None]] = []

    def add(self, sink: Sink, patience: int = LONGEST) -> None:
        """Close the sink once it is empty, ``patience`` ns from now at the latest."""
        self._open += 1
        deadline = self._loop.now() + patience
        self._loop.after(0, lambda: self._poll(sink, deadline))

    def when_done(self, call: Callable[[], None]) -> None:
        """Run ``call`` once no sink is left, now if there is none."""
        self._waiting.append(call)
        self._tell()

    @property
    def busy(self) -> bool:
        """Whether a sink is left."""
        return self._open > 0

    def _poll(self, sink: Sink, deadline: int) -> None:
        if self._loop.now() < deadline and _backlog(sink):
            self._loop.after(POLL, lambda: self._poll(sink, deadline))
            return
        guarded(sink.close)
        self._leave(sink)

    def _leave(self, sink: Sink) -> None:
        if not sink.gone():
            self._loop.after(POLL, lambda: self._leave(sink))
            return
        self._open -= 1
        self._tell()

    def _tell(self) -> None:
        if not self._open:
            waiting, self._waiting = self._waiting, []
            for call in waiting:
                guarded(call)


def _backlog(sink: Sink) -> int:
    """Packets that wait; none in a sink that cannot tell any more."""
    try:
        return sink.backlog()
    except OSError:
        return 0
