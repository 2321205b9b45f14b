"""The engines that tests are judged by: the fixture ``engine``, and what became of them for the terminal.

Whatever depends on how packets are impaired asks for ``engine`` and so runs on each. A test may be skipped on one only
for what docs/reference/engines.md lists, or for what this machine lacks; any other skip is a failure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator

import pytest

ENGINES = (pytest.param("userspace"), pytest.param("kernel", marks=pytest.mark.needs("netem")))
LISTED = "listed in docs/reference/engines.md: "
NEEDED = "needs "
"""How the reasons begin for which a test of an engine may be skipped: the matrix, or a machine that lacks something."""
_ENGINE = "engine"


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The engine at hand; the kernel's needs a kernel that has netem, which another lane may be."""
    found: str = request.param
    return found


def engine_of(item: pytest.Item) -> str:
    """The engine that a test is for; "" if for none in particular."""
    return str(getattr(getattr(item, "callspec", None), "params", {}).get(_ENGINE, ""))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    engine = engine_of(item)
    if not engine:
        return report
    report.user_properties.append((_ENGINE, engine))
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if not reason.startswith((LISTED, NEEDED)):
            report.outcome = "failed"
            report.longrepr = f"skipped on the {engine} engine for a reason that no page lists: {reason}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counted: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            engine = dict(getattr(report, "user_properties", ())).get(_ENGINE)
            if engine and (report.when == "call" or outcome != "passed"):
                counted.setdefault(str(engine), Counter())[outcome] += 1
    if not counted:
        return
    terminalreporter.section("engines")
    for engine, outcomes in sorted(counted.items()):
        told = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())
        terminalreporter.write_line(f"{engine}: {told}")
    for why in sorted(_whys(terminalreporter)):
        terminalreporter.write_line(f"  {why}")


def _whys(terminalreporter: pytest.TerminalReporter) -> set[str]:
    found = set()
    for report in terminalreporter.stats.get("skipped", ()):
        engine = dict(report.user_properties).get(_ENGINE)
        if engine and isinstance(report.longrepr, tuple):
            found.add(f"{engine} skipped: {str(report.longrepr[2]).removeprefix('Skipped: ')}")
    return found
