"""SIGTERM as an orderly end, only while something is held that outlives the process."""

from __future__ import annotations

import signal
import threading
from types import FrameType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM came; pytest tears down as after Ctrl-C."""


class Termination:
    """Turns the first SIGTERM into :class:`Terminated` while held; later ones do not disturb the teardown.

    A handler that was there before is called first. A process that ignores SIGTERM goes on ignoring it.
    """

    def __init__(self) -> None:
        self._holders = 0
        self._before: Callable[[int, FrameType | None], Any] | int | None = None
        self._installed = False
        self.came = False

    def hold(self) -> None:
        """Something external is held from now on; only the main thread can see to it, others do nothing here."""
        self._holders += 1
        if self._installed or threading.current_thread() is not threading.main_thread():
            return
        before = signal.getsignal(signal.SIGTERM)
        if before is signal.SIG_IGN or before is None:  # None: a handler that was not set from Python
            return
        self._before = before
        signal.signal(signal.SIGTERM, self._handle)
        self._installed = True

    def release(self) -> None:
        """It is held no more; with the last holder the earlier handler comes back."""
        self._holders = max(0, self._holders - 1)
        if self._holders or not self._installed or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) == self._handle:  # else somebody chained to ours, which stays harmless
            signal.signal(signal.SIGTERM, self._before)
            self._installed = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if callable(self._before):
            self._before(number, frame)
        if self._holders == 0 and self._before is signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        elif self._holders and not self.came:
            self.came = True
            raise Terminated("SIGTERM")
