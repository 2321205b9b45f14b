"""What the plugin does at each phase of a test: nothing loads or asks this before a run impairs something.

Every test of a suite would pay for these hooks otherwise. PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import pytest

from pytest_k8s_netem.fixtures import ARTIFACTS, OUTCOME, REFUSED, SESSION
from pytest_k8s_netem.options import SETTINGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Any

NAME = "netem-phases"
"""Under this name pytest knows this plugin."""
PROPERTY = "netem"
"""Name of the JUnit property, one for each impairment."""
SEED = "netem-seed"
"""Name of the JUnit property that holds the run's seed, beside every impairment."""
EVIDENCE = "netem-evidence"
"""Name of the JUnit property that holds the directory of a failed test's evidence."""
TOLD = pytest.StashKey[dict[str, str]]()
"""On the config: what the machine lacks, and the test that told all of it."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test whose markers cannot be meant is an error at once."""
    if why := item.stash.get(REFUSED, ""):
        pytest.fail(why, pytrace=False)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember how the body ended, and put what is known of the impairments beside the report."""
    if call.excinfo is not None and SESSION in item.config.stash:
        from pytest_k8s_netem.report import tracebacks

        if not item.config.option.fulltrace:
            tracebacks.shorten(call.excinfo.value)
        skips = call.when != "teardown"  # what cannot be ended is no missing need
        if skips and item.config.stash[SETTINGS].missing == "skip":
            call.excinfo = tracebacks.skipped(call.excinfo)
    report = yield
    if call.when == "setup" and call.excinfo is not None and getattr(call.excinfo.value, "of_machine", False):
        from pytest_k8s_netem.report import tracebacks

        tracebacks.once(report, item.config.stash.setdefault(TOLD, {}))
    if call.when == "call":
        expected = {"passed": "xpassed", "skipped": "skipped"} if hasattr(report, "wasxfail") else {}
        item.stash[OUTCOME] = expected.get(report.outcome, report.outcome)
    if report.failed and SESSION in item.config.stash:
        _add_evidence(item, call, report)
    if call.when == "teardown" and (session := item.config.stash.get(SESSION, None)) is not None:
        from pytest_k8s_netem.report import terminal

        facts = session.facts(item.nodeid)
        report.user_properties += [(PROPERTY, terminal.line(fact)) for fact in facts]
        report.user_properties += [(SEED, str(session.seed))] if facts else []
    if SESSION in item.config.stash:
        item.config.stash[SESSION].camera.phase_over(last=call.when == "teardown")
    return report


def _add_evidence(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """A section of the report, and files, with what was known when the test failed."""
    if "_netem_session" not in getattr(item, "fixturenames", ()):
        return
    from pytest_k8s_netem.report import evidence

    session = item.config.stash[SESSION]
    try:
        snapshot = session.camera.snapshot(call.excinfo.value if call.excinfo is not None else None)
    except TimeoutError:
        report.sections.append((f"{evidence.TITLE} {report.when}", "none: the run's event loop did not answer"))
        return
    nothing_began = report.when == "setup" and snapshot is not None and snapshot.empty
    if snapshot is not None and not nothing_began:
        base = item.config.stash[ARTIFACTS]()
        told, folder = evidence.told(snapshot, base, item.nodeid, str(report.when))
        report.sections.append((f"{evidence.TITLE} {report.when}", told))
        item.user_properties.append((EVIDENCE, folder))
        if report.when == "teardown":
            report.user_properties.append((EVIDENCE, folder))


def summarise(terminalreporter: pytest.TerminalReporter, reports: Sequence[Any]) -> None:
    """Say what was impaired, asked against measured, if these reports tell of it."""
    if any(name == PROPERTY for report in reports for name, _ in report.user_properties):
        from pytest_k8s_netem.report import terminal

        terminal.summary(terminalreporter, PROPERTY, SEED, verbose=terminalreporter.config.get_verbosity() > 0)
