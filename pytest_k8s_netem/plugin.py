"""pytest's view of the project: hooks only; what they need beyond pytest is imported on use. PYTEST_DONT_REWRITE."""

from __future__ import annotations

import textwrap

import pytest

from pytest_k8s_netem import markers, options
from pytest_k8s_netem.fixtures import (  # noqa: F401 - pytest collects fixtures from the plugin's names
    APPLY_FIRST,
    APPLY_LAST,
    AT_END,
    NOTICES,
    REFUSED,
    WATCH,
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
    from collections.abc import Iterator, Sequence
    from typing import Any

WORKER_NOTICES = "netem-notices"
"""Under this name xdist carries them."""
SHOWN = pytest.StashKey[list[str]]()
"""On the config: the refusals, listed once after collection."""
LATE = (
    "the marker netem came after collection, when nothing reads it any more: add it in pytest_collection_modifyitems, "
    "or impair with the fixture netem: netem.impair(...)"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Resolve the options, register the marker."""
    config.stash[options.SETTINGS] = options.resolve(config) if not config.option.help else options.defaults()
    config.stash[WATCH] = lambda: _watch_tests(config)
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


def _is_marked(node: pytest.Item | pytest.Collector) -> bool:
    """Whether it has a marker of its own; a loop, since a generator takes ten times as long for every test."""
    for mark in node.own_markers:  # noqa: SIM110
        if mark.name == "netem":
            return True
    return False


def _wider(item: pytest.Item) -> int:
    """How many of a test's fixtures have a wider scope; pytest sets those up first, and so do we."""
    known = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    scopes = [known[name][-1].scope if known.get(name) else "function" for name in getattr(item, "fixturenames", ())]
    return next((at for at, scope in enumerate(scopes) if scope == "function"), len(scopes))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Give every selected test that is to be impaired the fixtures that do it, one before and one after all others.

    Its markers are checked before; nothing is set up for one that cannot be meant. All plugins have had their say by
    now: markers that they add during collection count.
    """
    refused: dict[str, list[str]] = {}
    for item in _impaired(session.items):
        if why := _refusal(item):
            item.stash[REFUSED] = why
            refused.setdefault(why, []).append(item.nodeid)
        names = getattr(item, "fixturenames", None)
        if names is not None and APPLY_LAST not in names:
            names.insert(_wider(item), APPLY_FIRST)
            names.append(APPLY_LAST)
    if refused:
        _watch_tests(session.config)
    lines = [f"{_named(nodes)}:\n{textwrap.indent(why, '  ')}" for why, nodes in refused.items()]
    session.config.stash[SHOWN] = lines
    strict = session.config.getoption("strict_markers", False) or session.config.getini("strict_markers")
    if lines and strict and not session.config.option.collectonly:
        _fail_collection(session, "\n".join(["invalid netem markers:", *lines]))


def _fail_collection(session: pytest.Session, why: str) -> None:
    """Run nothing. To raise in a worker of xdist would be an internal error there that hides why."""
    if not hasattr(session.config, "workerinput"):
        raise pytest.UsageError(why)
    session.items.clear()
    report = pytest.CollectReport(session.nodeid, "failed", why, [])
    session.config.hook.pytest_collectreport(report=report)


def _impaired(items: Sequence[pytest.Item]) -> Iterator[pytest.Item]:
    """Those that are marked, or ask for a handle; what stands above a test is looked at once for all tests in it."""
    above: dict[pytest.Collector, bool] = {}

    def marked(node: pytest.Collector | None) -> bool:
        if node is None:
            return False
        if node not in above:
            above[node] = _is_marked(node) or marked(node.parent)
        return above[node]

    for item in items:
        names = getattr(item, "fixturenames", ())
        if _is_marked(item) or marked(item.parent) or "netem_profile" in names or "netem_profiles" in names:
            yield item


def _named(nodes: Sequence[str]) -> str:
    return nodes[0] if len(nodes) == 1 else f"{nodes[0]} and {len(nodes) - 1} more"


def _refusal(item: pytest.Item) -> str:
    if not (held := markers.declared(item)):
        return ""
    from pytest_k8s_netem.cluster.spec import Spec, named_twice, refusal

    folders = (item.path.parent, item.config.rootpath)
    specs = [Spec(part.name, part.arguments, part.order) for part in held]
    names = [spec.name for spec in specs]
    told = [why for spec in specs if (why := refusal(spec, folders))]
    return "\n".join([*told, *(named_twice(name) for name in dict.fromkeys(names) if names.count(name) > 1)])


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """List refused markers once."""
    lines = config.stash.get(SHOWN, [])
    return [part for line in lines for part in f"netem marker refused: {line}".splitlines()]


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A marker that came after collection would do nothing: that is an error, not a test that passes unimpaired."""
    if _is_marked(item) and APPLY_LAST not in getattr(item, "fixturenames", (APPLY_LAST,)) and markers.declared(item):
        pytest.fail(LATE, pytrace=False)


def _watch_tests(config: pytest.Config) -> None:
    """From now on look at each phase of each test; a run that impairs nothing never does."""
    from pytest_k8s_netem import phases

    if not config.pluginmanager.has_plugin(phases.NAME):
        config.pluginmanager.register(phases, phases.NAME)


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
    noted = [report for told in terminalreporter.stats.values() for report in told if _noted(report)]
    if noted:
        from pytest_k8s_netem import phases

        phases.summarise(terminalreporter, noted)


def _noted(report: Any) -> bool:
    """Whether a test's report has anything beside it; there are other reports among them."""
    return bool(getattr(report, "user_properties", ()))
