"""What the proof says of a test, through pytest: inert, unexercised, interfered with, ended; what it never masks."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from plain_run import Run

Start = Callable[..., Run]
pytestmark = [
    pytest.mark.needs("linux", "netns", "ping"),
    pytest.mark.timeout(180),
    pytest.mark.usefixtures("engine"),
]

HEAD = """
SLOW = dict(delay="30ms", pods="app=web", to="app=db")
"""
INERT = "met no packet of the test on default/web: the network was healthy for this test"
UNEXERCISED = re.compile(r"met \d+ packets, but none was lost, delayed or changed; [\d.e-]+ were to be expected")


def _run(start: Start, source: str, *options: str) -> Run:
    run = start(HEAD + source, *options)
    run.ended()
    run.nothing_left()
    assert "INTERNALERROR" not in run.output
    return run


def _outcome(run: Run, name: str) -> list[str]:
    """What ``-v`` printed for a test, in order."""
    return re.findall(rf"::{name} (PASSED|FAILED|ERROR|SKIPPED|XFAIL)", run.output)


def test_a_test_that_met_nothing(start: Start) -> None:
    source = """
@pytest.mark.netem(**SLOW)
def test_inert(pods): ...

@pytest.mark.netem(**SLOW, inert="warn")
def test_warned(pods): ...

@pytest.mark.netem(**SLOW, inert="ignore")
def test_ignored(pods): ...

@pytest.mark.netem(**SLOW)
def test_failed(pods):
    assert not "the failure"

@pytest.mark.netem(**SLOW)
def test_skipped(pods):
    pytest.skip("the skip")

@pytest.mark.xfail(strict=False)
@pytest.mark.netem(**SLOW)
def test_excused(pods):
    assert not "the excuse"

@pytest.mark.netem(**SLOW)
def test_other_direction(pods):
    import socket
    with pods.pod("db").socket(type=socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_IP, 1, 0)
        sender.sendto(b"x", (pods.pod("db").ip, 9))
"""
    run = _run(start, source)
    assert _outcome(run, "test_inert") == ["PASSED", "ERROR"]
    assert _outcome(run, "test_warned") == ["PASSED"]
    assert _outcome(run, "test_ignored") == ["PASSED"]
    assert _outcome(run, "test_failed") == ["FAILED"]
    assert _outcome(run, "test_skipped") == ["SKIPPED"]
    assert _outcome(run, "test_excused") == ["XFAIL"]
    assert _outcome(run, "test_other_direction") == ["PASSED", "ERROR"]
    told = run.output.partition("warnings summary")
    assert run.outcomes["warning"] == 1
    assert INERT in told[0]
    assert INERT in told[2]


def test_probes_of_assertions_are_not_the_tests_traffic(start: Start) -> None:
    source = """
BOTH = dict(rtt="20ms", pods="app=web", to="app=db")

@pytest.mark.netem(**BOTH)
def test_only_asserts(pods, netem_profile):
    netem_profile.assert_rtt(median=("19ms", "200ms"))

@pytest.mark.netem(**BOTH, ports="tcp/80")
def test_only_asserts_tcp(pods, netem_profile):
    netem_profile.assert_rtt(median=("19ms", "200ms"))
"""
    run = _run(start, source)
    assert _outcome(run, "test_only_asserts") == ["PASSED", "ERROR"]
    assert _outcome(run, "test_only_asserts_tcp") == ["PASSED", "ERROR"]
    assert run.output.count(INERT) >= 2


def test_how_strict_is_an_option_too(start: Start) -> None:
    source = """
@pytest.mark.netem(**SLOW)
def test_inert(pods): ...

@pytest.mark.netem(**SLOW, inert="error")
def test_strict(pods): ...

@pytest.mark.netem(loss="0.001%", pods="app=web", to="app=db")
def test_unexercised(send):
    send(5)
"""
    run = _run(start, source, "--netem-inert=ignore", "--netem-unexercised=error")
    assert _outcome(run, "test_inert") == ["PASSED"]
    assert _outcome(run, "test_strict") == ["PASSED", "ERROR"], "the marker is closer than the option"
    assert _outcome(run, "test_unexercised") == ["PASSED", "ERROR"]
    assert UNEXERCISED.search(run.output), run.output


def test_packets_that_were_met_but_not_changed_are_a_warning(start: Start) -> None:
    source = """
@pytest.mark.netem(loss="0.001%", pods="app=web", to="app=db")
def test_unexercised(send):
    send(5)

@pytest.mark.netem(loss="0.001%", pods="app=web", to="app=db", unexercised="ignore")
def test_ignored(send):
    send(5)

@pytest.mark.netem(**SLOW)
def test_exercised(send):
    send(5)
"""
    run = _run(start, source)
    assert run.outcomes == {"passed": 3, "warning": 1}, run.output
    assert re.search(rf"test_\w+\.py:\d+: PytestWarning: .*{UNEXERCISED.pattern}", run.output), run.output


def test_several_profiles_are_judged_one_by_one(start: Start) -> None:
    """The idle one takes no ICMP either: ``db`` answers with it, as soon as what was slowed has come."""
    source = """
@pytest.mark.netem(**SLOW, name="met")
@pytest.mark.netem(delay="5ms", pods="app=db", to="app=web", ports="tcp/80", name="idle")
def test_one_of_two(send):
    send(5)

def test_a_block(pods, netem):
    with netem.impair(**SLOW):
        pass
"""
    run = _run(start, source)
    assert _outcome(run, "test_one_of_two") == ["PASSED", "ERROR"]
    assert _outcome(run, "test_a_block") == ["PASSED", "ERROR"]
    assert "impairment 'idle'" in run.output
    assert not re.search(r"impairment 'met'.*met no packet", run.output)


@pytest.mark.parametrize("ends", ["web", "db"], ids=["pod", "peer"])
def test_a_pod_or_peer_that_ends_under_impairment_is_no_mistake(ends: str, start: Start) -> None:
    source = """
import time

def gone(cluster, name):
    while any(pod.name == name for pod in cluster.pods()):
        time.sleep(0.01)

@pytest.mark.netem(**SLOW)
def test_killed_after_traffic(pods, send):
    send(5)
    pods.pod(ENDS).delete(grace=0)
    gone(pods, ENDS)
"""
    run = _run(start, source.replace("ENDS", repr(ends)))
    assert run.outcomes == {"passed": 1}, run.output


def test_a_profile_whose_time_is_over_has_met_what_it_met(start: Start) -> None:
    source = """
import time

def over(profile):
    deadline = time.monotonic() + 20
    while profile.observed():
        assert time.monotonic() < deadline
        time.sleep(0.02)

@pytest.mark.netem(**SLOW, duration="1s")
def test_alone(send, netem_profile):
    send(5)
    over(netem_profile)

@pytest.mark.netem(**SLOW, duration="1s", name="short")
@pytest.mark.netem(delay="10ms", pods="app=web", to="app=db", name="long")
def test_beside_another(send, netem_profiles):
    send(5)
    over(netem_profiles["short"])
"""
    run = _run(start, source)
    assert run.outcomes == {"passed": 2}, run.output


def test_a_duration_may_be_changed_on_the_way(start: Start) -> None:
    source = """
import time
from pytest_k8s_netem.errors import ImpairmentError

@pytest.mark.netem(**SLOW, duration="600s")
def test_shortened(send, netem_profile):
    send(5)
    try:
        netem_profile.update(duration="1s")
    except ImpairmentError as error:  # it counts from the start, which was a second ago on a slow machine
        assert "its duration is over" in str(error)
    deadline = time.monotonic() + 20
    while netem_profile.observed():
        assert time.monotonic() < deadline
        time.sleep(0.02)
"""
    run = _run(start, source)
    assert run.outcomes == {"passed": 1}, run.output


def test_a_filter_that_somebody_removed(start: Start) -> None:
    source = """
@pytest.mark.netem(**SLOW)
def test_interfered_with(pods, send):
    send(5)
    pods.pod("web").exec(["tc", "filter", "del", "dev", "eth0", "egress"])

@pytest.mark.netem(**SLOW)
def test_after(ping):
    assert 30 <= ping()
"""
    run = _run(start, source)
    assert _outcome(run, "test_interfered_with") == ["PASSED", "ERROR"], run.output
    assert _outcome(run, "test_after") == ["PASSED"], run.output
    assert "impairment 'netem' no longer held: pod/default/web" in run.output
    assert "its filters are not in the kernel as they were compiled" in run.output


def test_a_profile_that_somebody_else_changes_or_deletes(start: Start) -> None:
    """The network was another one than the test says, whatever is in force at its end."""
    source = """
from pytest_k8s_netem.api.protocol import TRAFFICPROFILES

@pytest.fixture
def others(netem_cluster):
    "Does something to all profiles, past their handles."
    api, call = netem_cluster._provider.api, netem_cluster._portal.call
    def act(method, *more):
        for one in call(api.list(TRAFFICPROFILES)).items:
            call(getattr(api, method)(TRAFFICPROFILES, one["metadata"]["name"], *more))
    return act

@pytest.mark.netem(**SLOW)
def test_changed(send, others):
    send()
    others("patch", {"spec": {"impairment": {"delay": "1ms"}}})

@pytest.mark.netem(**SLOW, inert="ignore")
def test_deleted(pods, others):
    others("delete")

@pytest.mark.netem(**SLOW)
def test_updated(send, netem_profile):
    netem_profile.update(delay="20ms")
    with netem_profile.pause():
        pass
    send()
"""
    run = _run(start, source, "-v")
    assert _outcome(run, "test_changed") == ["PASSED", "ERROR"]
    assert "impairment 'netem' no longer held: somebody else changed its TrafficProfile" in run.output
    assert _outcome(run, "test_deleted") == ["PASSED", "ERROR"]
    assert "impairment 'netem' no longer held: somebody else deleted its TrafficProfile" in run.output
    assert _outcome(run, "test_updated") == ["PASSED"]
