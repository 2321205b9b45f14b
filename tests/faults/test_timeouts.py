"""pytest-timeout ends a test while its impairment begins: the next test meets a healthy network."""

from __future__ import annotations

import pytest

CONFTEST = """
import asyncio, os, signal

import pytest
from pytest_k8s_netem.controller import waiting

verified = waiting.verified
interrupting = []

async def interrupted(*arguments, **options):
    done = await verified(*arguments, **options)  # it is in force now
    if interrupting:
        interrupting.clear()
        os.kill(os.getpid(), signal.SIGALRM)  # as when the time of pytest-timeout is over
        await asyncio.Event().wait()
    return done

waiting.verified = interrupted

@pytest.fixture(scope="session")
def pods(netem_cluster):
    container = {"name": "main", "image": "none", "command": ["sleep", "1000"]}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    metadata = [{"name": name, "labels": {"app": name}} for name in ("web", "db")]
    with netem_cluster.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": m, "spec": spec} for m in metadata]):
        netem_cluster.wait_ready()
        yield netem_cluster

@pytest.fixture
def interrupt(pods):
    interrupting.append(True)

@pytest.fixture
def meet(pods):
    def meet():
        with pods.pod("db").listen() as server:
            pods.pod("web").connect((pods.pod("db").ip, server.getsockname()[1]), timeout=30).close()
    return meet
"""
SUITE = """
import pytest

GONE = dict(loss="100%", pods="app=web", to="app=db")

@pytest.mark.netem(**GONE)
def test_a_setup(interrupt): ...

def test_after_a_setup(meet):
    meet()

def test_a_block(interrupt, netem):
    with netem.impair(**GONE):
        raise AssertionError("it does not come here")

def test_after_a_block(meet):
    meet()

def test_a_block_of_no_test(interrupt, pods):
    with pods.impair(**GONE):
        raise AssertionError("it does not come here")

def test_after_a_block_of_no_test(meet):
    meet()

@pytest.mark.netem(delay="1ms", pods="app=web", to="app=db")
def test_another(meet):
    meet()
"""


@pytest.mark.needs("netns")
def test_what_was_about_to_begin_is_healed(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--timeout=250", "-rA")
    result.assert_outcomes(passed=4, errors=1, failed=2)
    result.stdout.fnmatch_lines(["ERROR *::test_a_setup - Failed: *", "FAILED *::test_a_block - Failed: *"])
    result.stdout.no_fnmatch_line("*it does not come here*")
