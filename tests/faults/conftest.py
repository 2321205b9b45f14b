"""Lets these tests share the modules beside them: import-mode=importlib leaves sys.path alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from engines import engine_of

sys.path.insert(0, str(Path(__file__).parent))
from plain_run import Run


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    """Whatever a test starts is ended with it."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start(tmp_path: Path, cleanup: ExitStack, request: pytest.FixtureRequest) -> Callable[..., Run]:
    """Start a run of pytest, with the engine at hand if the test has one; it is ended with the test.

    ``start(source, "-x")``; with ``name=`` there may be several.
    """
    chosen = [f"--netem-engine={engine}"] if (engine := engine_of(request.node)) else []

    def run(source: str, *options: str, name: str = "run") -> Run:
        made = Run(tmp_path / name, source, *chosen, *options)
        cleanup.callback(made.close)
        return made

    return run
