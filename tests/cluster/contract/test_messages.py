"""What a person reads: one line for each impaired test, short errors that end at his own line."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.needs("netns")

INSIDE = re.compile(r"pytest_k8s_netem/|concurrent/futures|asyncio/|contextlib\.py")
"""Paths of lines that are none of the user's business."""

IMPAIRED = """
@pytest.mark.netem(delay="200ms", pods="app=ann", to="app=bob")
def test_slow(ann, bob):
    took(ann, bob)

@pytest.mark.netem(delay="200ms", unexercised="ignore")
def test_all(ann, bob):
    took(ann, bob)

def test_healthy(ann, bob):
    took(ann, bob)
"""


@pytest.mark.usefixtures("engine")
def test_a_line_for_each_impaired_test_under_v(suite):
    result = suite(IMPAIRED, "-v")
    result.assert_outcomes(passed=3)
    result.stdout.re_match_lines(
        [
            r"-+ network impairments -+",
            r".*::test_slow",
            r"  netem: delay 200ms, egress of app=ann to app=bob: measured RTT 20\d\.\d ms; 1 packet met; pod/ann, "
            r"(userspace|kernel) engine, proven by probe; spared: node node-\d$",
            r".*::test_all",
            r"  netem: delay 200ms, egress of every pod: measured RTT 40\d\.\d.* ms; \d packets? met; 3 pods, ",
        ],
        consecutive=False,
    )
    assert "test_healthy" not in result.stdout.str().partition("network impairments")[2]


def test_a_plain_green_run_says_nothing_of_it(suite):
    assert "network impairments" not in suite(IMPAIRED).stdout.str()


def test_a_test_that_failed_shows_its_line(suite):
    result = suite(IMPAIRED + "    assert 0\n\ntest_healthy = pytest.mark.netem(delay='1ms')(test_healthy)\n")
    told = result.stdout.str().partition("network impairments")[2]
    assert "test_healthy" in told
    assert "test_slow" not in told


ERRORS = """
@pytest.fixture
def web(netem_namespace):
    obj = manifest("web")
    obj["spec"]["containers"][0] |= {"command": ["sh", "-c", "echo no config; exit 7"],
                                     "readinessProbe": {"tcpSocket": {"port": 80}}}
    netem_namespace.apply(obj)
    netem_namespace.wait_ready(timeout=0.5)

def test_fixture(web): ...

def test_exec(people):
    people.exec("ann", ["sh", "-c", "echo oops >&2; exit 3"])

def test_pod(people):
    people.pod("dan")

def test_block(people, netem):
    with netem.impair(delay="1ms", pods="app=dan"):
        ...

def test_forward(people):
    with people.forward("svc/none:80"):
        ...

@pytest.mark.netem(delay="1ms", pods="app=ann", to="app=bob", inert="ignore", unexercised="ignore")
def test_assert(people, netem_profile):
    netem_profile.assert_rtt(median=("100ms", "140ms"))
"""


def test_errors_end_at_the_users_own_line(suite):
    result = suite(ERRORS, "--tb=long")
    result.assert_outcomes(failed=5, errors=1)
    frames = [line for line in result.outlines if re.match(r"\S+:\d+: ", line)]
    assert not [line for line in frames if INSIDE.search(line)], frames
    result.stdout.fnmatch_lines(
        [
            ">       netem_namespace.wait_ready(timeout=0.5)",
            "E       *ClusterError: not ready after 0.5 s: pod/web",
            "E           | no config",
            '>       people.exec("ann", *',
            "E       *CommandFailed: * in pod default/ann ended with 3",
            "E       oops",
            '>       people.pod("dan")',
            "E       *no pod 'dan' in namespace 'default'; there are: ann, bob, cid",
            '>       with netem.impair(delay="1ms", pods="app=dan"):',
            "E       *impairment 'block': app=dan selects no pod in namespace default; there are pod/ann (app=ann), *",
            '>       with people.forward("svc/none:80"):',
            "E       *services 'none' not found in namespace 'default'",
            '>       netem_profile.assert_rtt(median=("100ms", "140ms"))',
            "E       AssertionError: *pod/default/ann*pod/default/bob*",
        ]
    )


def test_the_whole_trace_is_there_for_those_who_ask(suite):
    assert "pytest_k8s_netem/cluster/" in suite(ERRORS, "--full-trace", "-k", "test_pod").stdout.str()


def test_a_marker_in_a_run_without_any_pod_says_how_to_make_one(suite):
    result = suite('@pytest.mark.netem(delay="1ms")\ndef test_nobody(): ...')
    result.assert_outcomes(errors=1)
    told = (
        "impairment 'netem': there is no pod to impair in namespace default; *netem_cluster.apply(...)*netem.attach(*"
    )
    result.stdout.fnmatch_lines([told])


def test_pods_in_another_namespace_are_hinted_at(suite):
    result = suite('@pytest.mark.netem(delay="1ms")\ndef test_nobody(people, netem_namespace): ...')
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*there are some in namespace default (3): say namespaces= to reach them"])


def test_two_mistakes_come_together(suite):
    result = suite(
        """
        @pytest.mark.netem(delay="1ms", pods="app=dan", name="one")
        @pytest.mark.netem(delay="1ms", pods="app=eve", name="two")
        def test_nobody(people): ...
        """
    )
    result.stdout.fnmatch_lines(["impairment 'one': app=dan selects no pod*", "impairment 'two': app=eve selects no*"])
