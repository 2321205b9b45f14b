"""Workers that have nothing to do, kept for the next plan: to fork one costs the agent milliseconds of copied pages."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.agent.dataplane.process import Process
    from pytest_k8s_netem.agent.loop import Loop, Timer

LONGEST = 5_000_000_000
"""ns that a worker is kept: the next test's plan mostly comes within a fraction of a second."""
MOST = 8
"""How many are kept at a time; each has some pages of its own."""
_POLL = 5_000_000


class Spares:
    """The idle workers of one agent, whatever target they worked for: they hold nothing of any."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._idle: dict[Process, Timer] = {}

    def take(self) -> Process:
        """The worker that became idle last, a new one if there is none.

        :raises OSError: if none can be forked.
        """
        from pytest_k8s_netem.agent.dataplane.process import Process

        while self._idle:
            process = self._release(next(reversed(self._idle)))
            if process.lives:
                return process
            self._end(process)
        return Process()

    def put(self, process: Process) -> None:
        """Keep a worker that has answered everything and holds nothing; it ends where enough are kept already."""
        if len(self._idle) >= MOST:
            self._end(process)
            return
        self._idle[process] = self._loop.after(LONGEST, lambda: self._end(self._release(process)))
        self._loop.watch(process.descriptor, lambda _events: self._end(self._release(process)))

    def close(self) -> None:
        """End all of them, and wait until they are gone."""
        from pytest_k8s_netem.agent.dataplane.removal import Endings

        endings = Endings()
        for process in tuple(self._idle):
            self._release(process).end()
            endings.add(process)
        endings.wait()

    def _release(self, process: Process) -> Process:
        self._idle.pop(process).cancel()
        self._loop.forget(process.descriptor)
        return process

    def _end(self, process: Process) -> None:
        process.end()
        self._reap(process)

    def _reap(self, process: Process) -> None:
        if not process.over():
            self._loop.after(_POLL, lambda: self._reap(process))
