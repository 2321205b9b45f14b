"""A run of pytest as a user starts it, watched from outside, and what it must not leave behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from nested import PYTEST
from processes import Living, children, command, descendants, living, still, until, with_environment
from watched import Watched

BOUND = 10.0
"""Seconds within which everything is gone: the contract says 1 for the network; the reaper may take 3 on top."""


class Run(Watched):
    """A pytest process in a process group, a home and temporary folders of its own.

    :ivar seen: every process that :meth:`look` has met, the run's own first.
    """

    def __init__(self, folder: Path, source: str, *options: str) -> None:
        self.folder = folder
        self.home, self.runtime, self.temporary = (folder / name for name in ("home", "runtime", "temporary"))
        self.suite = folder / "suite"
        for path in (self.home, self.runtime, self.temporary, self.suite):
            path.mkdir(mode=0o700, parents=True)
        self._links = links()
        self._mounts = mounts()
        (self.suite / "conftest.py").write_text(Path(__file__).with_name("suite_conftest.py").read_text())
        (self.suite / "test_it.py").write_text("import pytest\n\n" + textwrap.dedent(source))
        (self.suite / "pytest.ini").write_text("[pytest]\n")
        self.printed = folder / "output"
        with self.printed.open("wb") as output:
            self.process = subprocess.Popen(
                [*PYTEST, "-v", *options, str(self.suite)],
                cwd=self.suite,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C goes to the whole group; so does :meth:`interrupt`
            )
        self.seen: Living = living([self.process.pid])

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "NETEM", "COV"))}
        return {
            **kept,
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "COLUMNS": "200",
        }

    # The way there

    def reached(self, sign: str) -> None:
        """Wait until the suite has come to a place."""
        until(
            lambda: (self.home / sign).exists() or self.process.poll() is not None, lambda: f"no {sign}: {self.output}"
        )
        assert (self.home / sign).exists(), f"it ended before {sign}: {self.output}"

    def allow(self, sign: str) -> None:
        """Let the suite go on."""
        (self.home / sign).touch()

    def told(self, event: str) -> None:
        """Wait for an event of the run's log."""

        def there() -> bool:
            return any(f'"is": "{event}"' in log.read_text() for log in self.runtime.rglob("events.jsonl"))

        until(there, lambda: f"no {event}: {self.output}")

    def look(self) -> Living:
        """Everything that the run has started so far."""
        self.seen |= living([*descendants(self.process.pid), *with_environment(f"HOME={self.home}")])
        return self.seen

    # Who is who

    @property
    def stub(self) -> int:
        """The process outside that waits for the node host."""
        [pid] = [pid for pid in self._mine() if any("node_host.py" in word for word in command(pid))]
        return pid

    @property
    def first(self) -> int:
        """pid 1 of the cluster."""
        return children(self.stub)[0]

    @property
    def agent(self) -> int:
        return next(pid for pid in children(self.first) if "keep" in command(pid))

    @property
    def workers(self) -> list[int]:
        """Workers of user-space sinks; there are none with the kernel engine."""
        return children(self.agent)

    @property
    def reaper(self) -> int:
        [pid] = [pid for pid in self._mine() if any("reaper.py" in word for word in command(pid))]
        return pid

    def _mine(self) -> list[int]:
        return children(self.process.pid)

    # The end

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)

    def nothing_left(self) -> None:
        """No process, device, mount or file of the run is there, or comes to be gone in time."""
        until(lambda: not still(self.seen), lambda: f"left: {_named(still(self.seen))}\n{self.output}", BOUND)
        marked = f"HOME={self.home}"
        until(lambda: not [*with_environment(marked)], lambda: f"left: {_named([*with_environment(marked)])}", BOUND)
        until(lambda: not self.files(), lambda: f"left: {self.files()}\n{self.output}", BOUND)
        until(lambda: links() <= self._links, lambda: f"left: {links() - self._links}", BOUND)
        assert not {mount for mount in mounts() - self._mounts if str(self.folder) in mount}

    def files(self) -> list[str]:
        """What lies in the run's temporary folders; pytest's own is not ours to remove."""
        found = (
            str(path.relative_to(self.folder)) for top in (self.runtime, self.temporary) for path in top.rglob("*")
        )
        return sorted(path for path in found if "/pytest-of-" not in path)

    def close(self) -> None:
        """End what a failed test has left running."""
        for pid in [self.process.pid, *still(self.look())]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


def links() -> set[str]:
    """Devices of this network namespace, but those that a Docker daemon makes and removes beside the test."""
    told = subprocess.run(["ip", "-j", "link"], capture_output=True, text=True, check=True)
    names = {entry["ifname"] for entry in json.loads(told.stdout)}
    return {name for name in names if not re.fullmatch(r"veth[0-9a-f]{7}|br-[0-9a-f]{12}", name)}


def mounts() -> set[str]:
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def _named(pids: list[int]) -> dict[int, str]:
    return {pid: " ".join(command(pid))[:120] for pid in pids}
