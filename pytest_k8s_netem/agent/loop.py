"""One thread's readiness and timers; no call here runs anything but callbacks."""

from __future__ import annotations

import heapq
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
"""What to watch for, and what came; the end of a stream, or an error on it, is both."""
_BOTH = READ | WRITE
LONGEST_WAIT = 1.0
"""s; sleeps are cut here, since poll(2) does not count the time a machine is suspended and deadlines do."""

LONGEST_TURN = 20_000_000
"""ns that timers may run before descriptors are looked at again."""


class Timer:
    """A callback at a time; :meth:`cancel` is always safe."""

    __slots__ = ("_call", "when")

    def __init__(self, when: int, call: Callable[[], None]) -> None:
        self.when = when
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Never run, unless it has run already."""
        self._call = None

    @property
    def cancelled(self) -> bool:
        """Whether it will not run (any more)."""
        return self._call is None

    def run(self) -> None:
        """Run once."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Loop:
    """Readiness and timers on CLOCK_BOOTTIME, which goes on while the machine sleeps."""

    def __init__(self) -> None:
        self._poll = select.epoll()  # selectors, which has it too, would be half of what is imported here
        self._watched: dict[int, tuple[Callable[[int], None], int]] = {}
        self._timers: list[tuple[int, int, Timer]] = []
        self._serial = 0
        self._running = True

    def now(self) -> int:
        """ns of CLOCK_BOOTTIME."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def at(self, when: int, call: Callable[[], None]) -> Timer:
        """Run ``call`` once it is ``when`` ns."""
        timer = Timer(when, call)
        self._serial += 1
        heapq.heappush(self._timers, (when, self._serial, timer))
        return timer

    def after(self, delay: int, call: Callable[[], None]) -> Timer:
        """Run ``call`` in ``delay`` ns."""
        return self.at(self.now() + delay, call)

    def watch(self, fd: int, call: Callable[[int], None], events: int = READ) -> None:
        """Run ``call(events)`` whenever the descriptor is ready; replaces an earlier watch of it."""
        before = self._watched.get(fd)
        if before is None:
            self._poll.register(fd, events)
        elif before[1] != events:
            self._poll.modify(fd, events)
        if before != (call, events):
            self._watched[fd] = (call, events)

    def forget(self, fd: int) -> None:
        """End a watch; nothing happens if there is none."""
        if self._watched.pop(fd, None) is not None:
            try:
                self._poll.unregister(fd)
            except OSError:  # closed already
                return

    def stop(self) -> None:
        """Make :meth:`run` return after the callback that runs now."""
        self._running = False

    def run(self) -> None:
        """Serve until :meth:`stop`; a callback that raises is logged and the loop goes on."""
        while self._running:
            for fd, came, watch in [(fd, came, self._watched.get(fd)) for fd, came in self._poll.poll(self._wait())]:
                if watch is not None and self._watched.get(fd) is watch:  # an earlier callback may have ended it
                    guarded(watch[0], (_BOTH if came & ~_BOTH else came) & watch[1])
            self.run_due()

    def run_due(self) -> None:
        """Run the timers whose time has come, until descriptors have waited long enough."""
        now = self.now()
        while self._timers and (self._timers[0][0] <= now or self._timers[0][2].cancelled):
            guarded(heapq.heappop(self._timers)[2].run)
            if self.now() - now > LONGEST_TURN:
                return

    def next_due(self) -> int | None:
        """When the earliest timer runs, ns; None if there is none."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _wait(self) -> float | None:
        due = self.next_due()
        return None if due is None else min(max(due - self.now(), 0) / 1e9, LONGEST_WAIT)

    def close(self) -> None:
        """Release what the kernel keeps for it."""
        self._poll.close()


def guarded(call: Callable[..., object], *arguments: object) -> None:
    """Run a callback; an error in it must not end the agent, so it goes to stderr."""
    try:
        call(*arguments)
    except Exception:
        import traceback

        traceback.print_exc(file=sys.stderr)
