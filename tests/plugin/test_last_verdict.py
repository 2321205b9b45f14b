"""A run whose last test is failed by what its end finds is one in which a test failed."""

from __future__ import annotations

import pytest

CONFTEST = """
import pytest
from pytest_k8s_netem.cluster.local import LocalProvider

LocalProvider.remains = lambda self, failed: f"a test has failed: {failed}"

@pytest.fixture
def pod(netem_namespace):
    container = {"name": "main", "image": "none", "command": ["sleep", "1000"]}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    netem_namespace.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec})
    netem_namespace.wait_ready()
"""
SUITE = """
import pytest

@pytest.mark.netem(delay="1ms", inert="{inert}", verify="read-back")
def test_it(pod): ...
"""


@pytest.mark.needs("netns")
@pytest.mark.parametrize("inert", ["error", "ignore"])
def test_the_verdict_on_the_last_test_counts(pytester: pytest.Pytester, inert: str) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(SUITE.format(inert=inert))
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, errors=1 if inert == "error" else 0)
    result.stdout.fnmatch_lines([f"netem: a test has failed: {inert == 'error'}"])
