"""pytest's view of the project: hooks only; what they need beyond pytest is imported on use. PYTEST_DONT_REWRITE."""

from __future__ import annotations

import textwrap

import pytest

from pytest_k8s_netem import markers, options
from pytest_k8s_netem.fixtures import (  # noqa: F401 - pytest collects fixtures from the plugin's names
    APPLY_FIRST,
    APPLY_LAST,
    ARTIFACTS,
    AT_END,
    NOTICES,
    OUTCOME,
    SESSION,
    _netem_first,
    _netem_last,
    _netem_session,
    _netem_test,
    netem,
    netem_attach,
    netem_cluster,
    netem_namespace,
    netem_profile,
    netem_profiles,
    netem_spec,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Any

PROPERTY = "netem"
"""Name of the JUnit property, one for each impairment."""
SEED = "netem-seed"
"""Name of the JUnit property that holds the run's seed, beside every impairment."""
EVIDENCE = "netem-evidence"
"""Name of the JUnit property that holds the directory of a failed test's evidence."""
WORKER_NOTICES = "netem-notices"
"""Under this name xdist carries them."""
REFUSED = pytest.StashKey[str]()
"""On an item: what is wrong with its markers."""
TOLD = pytest.StashKey[dict[str, str]]()
"""On the config: what the machine lacks, and the test that told all of it."""
SHOWN = pytest.StashKey[list[str]]()
"""On the config: the refusals, listed once after collection."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Resolve the options, register the marker."""
    config.stash[options.SETTINGS] = options.resolve(config) if not config.option.help else options.defaults()
    config.addinivalue_line("markers", markers.REGISTRATION)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | pytest.ExitCode | None:
    """Hand the whole command over to the guest, where ``--netem-guest`` asks for it."""
    if config.option.help or config.option.version or not (settings := options.resolve(config)).guest:
        return None
    from pytest_k8s_netem.guest import command

    return command.main(
        config, provider=settings.provider, memory=settings.guest_memory, timeout=settings.guest_timeout
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    """One line when something was chosen, or under ``-v``."""
    settings = config.stash[options.SETTINGS]
    chosen = [(name, source) for name, source in settings.sources if source != "default"]
    if not chosen and config.get_verbosity() < 1:
        return None
    told = ", ".join(f"{name}={getattr(settings, name)} ({source})" for name, source in chosen)
    return f"netem: provider={settings.provider}, engine={settings.engine}" + (f"; {told}" if told else "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test that is to be impaired the fixtures that do it, one before and one after all others."""
    for item in items:
        names = getattr(item, "fixturenames", None)
        if names is None:
            continue
        asked = {"netem_profile", "netem_profiles"} & set(names)
        if (asked or any(True for _ in item.iter_markers("netem"))) and APPLY_LAST not in names:
            names.insert(_wider(item), APPLY_FIRST)
            names.append(APPLY_LAST)


def _wider(item: pytest.Item) -> int:
    """How many of a test's fixtures have a wider scope; pytest sets those up first, and so do we."""
    known = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    scopes = [known[name][-1].scope if known.get(name) else "function" for name in getattr(item, "fixturenames", ())]
    return next((at for at, scope in enumerate(scopes) if scope == "function"), len(scopes))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Check the markers of the selected tests; nothing is set up for one that cannot be meant."""
    refused: dict[str, list[str]] = {}
    for item in session.items:
        if any(True for _ in item.iter_markers("netem")) and (why := _refusal(item)):
            item.stash[REFUSED] = why
            refused.setdefault(why, []).append(item.nodeid)
    lines = [f"{_named(nodes)}:\n{textwrap.indent(why, '  ')}" for why, nodes in refused.items()]
    session.config.stash[SHOWN] = lines
    strict = session.config.getoption("strict_markers", False) or session.config.getini("strict_markers")
    if lines and strict and not session.config.option.collectonly:
        raise pytest.UsageError("\n".join(["netem markers that cannot be meant:", *lines]))


def _named(nodes: Sequence[str]) -> str:
    return nodes[0] if len(nodes) == 1 else f"{nodes[0]} and {len(nodes) - 1} more"


def _refusal(item: pytest.Item) -> str:
    from pytest_k8s_netem.cluster.spec import Spec, named_twice, refusal

    folders = (item.path.parent, item.config.rootpath)
    specs = [Spec(part.name, part.arguments, part.order) for part in markers.declared(item)]
    names = [spec.name for spec in specs]
    told = [why for spec in specs if (why := refusal(spec, folders))]
    return "\n".join([*told, *(named_twice(name) for name in dict.fromkeys(names) if names.count(name) > 1)])


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """List refused markers once."""
    lines = config.stash.get(SHOWN, [])
    return [part for line in lines for part in f"netem marker refused: {line}".splitlines()]


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
        if skips and item.config.stash[options.SETTINGS].missing == "skip":
            call.excinfo = tracebacks.skipped(call.excinfo)
    report = yield
    if call.when == "setup" and call.excinfo is not None and getattr(call.excinfo.value, "of_machine", False):
        from pytest_k8s_netem.report import tracebacks

        tracebacks.once(report, item.config.stash.setdefault(TOLD, {}))
    if call.when == "call":
        item.stash[OUTCOME] = "skipped" if hasattr(report, "wasxfail") else report.outcome
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
    if snapshot is not None:
        base = item.config.stash[ARTIFACTS]()
        told, folder = evidence.told(snapshot, base, item.nodeid, str(report.when))
        report.sections.append((f"{evidence.TITLE} {report.when}", told))
        item.user_properties.append((EVIDENCE, folder))
        if report.when == "teardown":
            report.user_properties.append((EVIDENCE, folder))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what is left, and hand what is to be told to the process that has the terminal: xdist's workers have none."""
    for end in session.config.stash.get(AT_END, []):
        end()
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output[WORKER_NOTICES] = session.config.stash.get(NOTICES, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take it from a worker that ends."""
    told = getattr(node, "workeroutput", {}).get(WORKER_NOTICES, [])
    node.config.stash[NOTICES] = [*node.config.stash.get(NOTICES, []), *told]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was impaired, asked against measured: under ``-v``, and for tests that failed; and what remains."""
    notices: list[str] = config.stash.get(NOTICES, [])
    for notice in dict.fromkeys(notices):  # workers tell the same
        terminalreporter.write_line(f"netem: {notice}")
    reports = (report for reports in terminalreporter.stats.values() for report in reports)
    if not any(name == PROPERTY for report in reports for name, _ in getattr(report, "user_properties", ())):
        return
    from pytest_k8s_netem.report import terminal

    terminal.summary(terminalreporter, PROPERTY, SEED, verbose=config.get_verbosity() > 0)
