"""The lane on Docker: containers of a network of their own, and runs of pytest that attach them."""

from __future__ import annotations

import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import beside
from people import ROOT, Who, ordinary
from suites import Suite


@pytest.fixture(scope="session")
def user() -> Iterator[Who]:
    """Who may use Docker's socket and has no other privilege."""
    with tempfile.TemporaryDirectory(prefix="netem-docker-", dir="/tmp") as scratch:
        yield ordinary(Path(scratch))


@pytest.fixture(params=["root", "user"])
def who(request: pytest.FixtureRequest) -> Who:
    """Whose run it is: root's agent enters the network namespace, a user's comes as a helper container."""
    chosen: Who = ROOT if request.param == "root" else request.getfixturevalue("user")
    return chosen


@pytest.fixture(scope="module")
def pair() -> Iterator[beside.Pair]:
    """An echo server and a client on a network of their own; what is in their network at the end was there before."""
    with beside.pair(secrets.token_hex(3)) as made:
        before = [beside.state(name) for name in made.names]
        yield made
        assert [beside.state(name) for name in made.names] == before


@pytest.fixture
def run(pair: beside.Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Suite]]:
    """Run a suite over the pair: ``run(who, source, "-k", ...)`` waits for its end, ``begin=True`` does not."""
    with ExitStack() as cleanup:

        def go(who: Who, source: str, *options: str, begin: bool = False, **environment: str) -> Suite:
            folder = Path(tempfile.mkdtemp(prefix="suite-", dir="/tmp"))
            suite = Suite(folder, who, source, *options, **pair.environment, **environment)
            cleanup.callback(suite.close)
            if not begin:
                suite.ended()
            return suite

        yield go
        left = beside.helpers()
        assert not left, f"left: {left}"
