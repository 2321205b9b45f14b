"""A run of pytest in a process of its own: its end, and what it printed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

_LAST = re.compile(r"=+ .* in .*s")
_COUNT = re.compile(r"(\d+) (passed|failed|error|skipped|xfailed|xpassed|warning)")


class Watched:
    """What there is of it from outside; who starts it sets :attr:`process` and the file that it prints to."""

    process: subprocess.Popen[bytes]
    printed: Path

    def ended(self, patience: float = 170) -> int:
        """Wait for the end, so many seconds at most; the exit status."""
        return self.process.wait(patience)

    @property
    def output(self) -> str:
        return self.printed.read_text(errors="replace")

    @property
    def outcomes(self) -> dict[str, int]:
        """As the last line has it: ``{"passed": 1, "error": 1}``."""
        last = next((line for line in reversed(self.output.splitlines()) if _LAST.match(line)), "")
        return {word: int(number) for number, word in _COUNT.findall(last)}
