"""What the contract's tests share: a few pods, and suites of a user's own that run in a process of theirs."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from engines import engine_of
from lanes import manifest, service
from nested import OPTIONS

HERE = Path(__file__).parent

COMMON = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import pytest
from lanes import *

@pytest.fixture(scope="session")
def people(netem_cluster):
    with netem_cluster.apply([manifest("ann"), manifest("bob"), manifest("cid")]):
        netem_cluster.wait_ready()
        yield netem_cluster

@pytest.fixture
def ann(people):
    return people.pod("ann")

@pytest.fixture
def bob(people):
    return people.pod("bob")

@pytest.fixture
def cid(people):
    return people.pod("cid")
"""
"""The conftest of a user's suite: three pods that talk."""


@pytest.fixture(scope="session")
def by_engine(engine: str, _netem_session: Any) -> None:
    """What a test imposes is done by the engine at hand, as ``--netem-engine`` would have it."""
    _netem_session.choices = replace(_netem_session.choices, engine=engine)


@pytest.fixture(scope="package")
def people(netem_cluster: Any) -> Iterator[Any]:
    """The cluster, with three pods and a Service in namespace ``default``; a test leaves them as they are."""
    pods = [manifest("ann", tier="front"), manifest("bob", tier="back"), manifest("cid", tier="back")]
    with netem_cluster.apply([*pods, service("shop", "bob")]):
        netem_cluster.wait_ready()
        yield netem_cluster


@pytest.fixture
def ann(people: Any) -> Any:
    return people.pod("ann")


@pytest.fixture
def bob(people: Any) -> Any:
    return people.pod("bob")


@pytest.fixture
def cid(people: Any) -> Any:
    return people.pod("cid")


@pytest.fixture
def suite(request: pytest.FixtureRequest, pytester: pytest.Pytester) -> Callable[..., pytest.RunResult]:
    """Run a user's suite in its own process, by the engine at hand if the test has one: ``suite(source, "-v")``."""
    chosen = [f"--netem-engine={engine}"] if (engine := engine_of(request.node)) else []

    def run(source: str, *options: str) -> pytest.RunResult:
        pytester.makeconftest(COMMON)
        pytester.makepyfile(f"import pytest\nfrom lanes import *\n{textwrap.dedent(source)}")
        return pytester.runpytest_subprocess(*OPTIONS, *chosen, *options)

    return run
