"""What the client saw, shown at the end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

SHOWN = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--demo-rtt", default="100ms", help="Round trip time that the quickstart adds")


@pytest.fixture
def asked_rtt(request: pytest.FixtureRequest) -> str:
    """The option, or its default where this folder's options were not loaded."""
    return request.config.getoption("--demo-rtt", default="100ms")


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keep a line for the end of the run."""
    lines = request.config.stash.setdefault(SHOWN, [])
    return lambda text: lines.append(f"{request.node.name}: {text}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if lines := terminalreporter.config.stash.get(SHOWN, []):
        terminalreporter.section("what the client saw")
        for line in lines:
            terminalreporter.write_line(line)
