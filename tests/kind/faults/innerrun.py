"""A run of pytest as a user starts it, on the cluster of the test that watches it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import processes

PATIENCE = 240.0
"""Seconds for a run to come to a place: it installs, or sees that this has been done."""
LATE = re.compile(
    r"impairment '[^']+' no longer held: pod/\S+: \S+: \d+ of \d+ packets left the user-space engine more than .*"
)
"""A line of an error that says nothing but that a busy machine sent packets late."""
KIND = re.compile(r"(?:[\w.]*\bProofError|Failed): ")
"""What stands before it: a block raises an error of ours, for a marker's impairment pytest is told to fail."""
SIGNS = '''
import json, os, pathlib, time
import pytest

FOLDER = pathlib.Path(os.environ["NETEM_TEST_SIGNS"])

def pytest_runtest_logreport(report):
    """Keep what became of each phase of each test; xdist's workers hand theirs on."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        crash = getattr(report.longrepr, "reprcrash", None)
        told = crash.message if crash is not None else report.longreprtext
        with (FOLDER / "reports").open("a") as file:
            print(json.dumps([report.nodeid, report.when, report.outcome, told]), file=file)

@pytest.fixture
def body(request):
    """Tell that the body has begun, and stay in it until the watcher says so."""
    def stay(patience=200):
        (FOLDER / f"body-{request.node.name}").write_text(str(os.getpid()))
        end = time.monotonic() + patience
        while not (FOLDER / "go").exists() and not (FOLDER / f"go-{request.node.name}").exists():
            assert time.monotonic() < end, "nobody said go"
            time.sleep(0.05)
    return stay
'''


def until(condition: Callable[[], object], what: Callable[[], object], patience: float = 60.0) -> None:
    """As for processes of this machine, with a cluster's patience."""
    processes.until(condition, what, patience)


class InnerRun:
    """A pytest process with a folder of its own; it stays in each test's body until it is let on."""

    def __init__(self, folder: Path, cluster: str, source: str, *options: str) -> None:
        self.folder = folder
        suite = folder / "suite"
        suite.mkdir(parents=True)
        (suite / "conftest.py").write_text(SIGNS)
        (suite / "test_it.py").write_text("import pytest\n\n" + source)
        (suite / "pytest.ini").write_text("[pytest]\n")
        self._output = folder / "output"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "NETEM", "COV"))}
        which = ["--netem-provider=kind", f"--netem-cluster={cluster}", "-p", "no:cacheprovider", "-v"]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *which, *options, str(suite)],
                cwd=suite,
                env={**kept, "NETEM_TEST_SIGNS": str(folder), "COLUMNS": "300"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text(errors="replace")

    def reached(self, test: str) -> int:
        """Wait until a test is in its body; the process that runs it."""
        sign = self.folder / f"body-{test}"

        def there() -> bool:
            assert self.process.poll() is None, self.output
            return sign.exists() and bool(sign.read_text())

        until(there, lambda: f"no {test}: {self.output}", PATIENCE)
        return int(sign.read_text())

    def allow(self, test: str = "") -> None:
        """Let one test on, or all."""
        (self.folder / (f"go-{test}" if test else "go")).touch()

    def ended(self, patience: float = PATIENCE) -> int:
        """Wait for its end; the exit status."""
        return self.process.wait(patience)

    def passed(self) -> None:
        """See that it ends well: the body of each test passes, and its end tells of nothing but a busy machine."""
        status = self.ended()
        file = self.folder / "reports"
        reports = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        assert status in (0, 1), self.output
        assert any(when == "call" for _, when, _, _ in reports), f"no test has run\n{self.output}"
        amiss = [f"{test}, {when}: {told}" for test, when, outcome, told in reports if not _well(when, outcome, told)]
        assert not amiss, "\n".join([*amiss, self.output])
        assert status == 0 or any(outcome == "failed" for _, _, outcome, _ in reports), self.output

    def kill(self) -> None:
        """End it and all that it started, if it is still there."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, 15)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, 9)
                self.process.wait()


def _well(when: str, outcome: str, told: str) -> bool:
    if outcome == "passed":
        return True
    kind = KIND.match(told)
    return when == "teardown" and kind is not None and all(map(LATE.fullmatch, told[kind.end() :].splitlines() or [""]))


def waited(seconds_end: float) -> None:
    """Until a unix time; for faults whose length is their point."""
    time.sleep(max(0.0, seconds_end - time.time()))
