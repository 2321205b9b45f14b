"""Attached containers meet the same profiles as pods, by the client's own clock; afterwards nothing of it is left."""

from __future__ import annotations

import beside
import pytest

pytestmark = [pytest.mark.needs("linux", "root", "docker", "tc"), pytest.mark.timeout(400)]

PROFILES = """
@pytest.mark.netem(rtt="60ms", pods="container/client", to="container/server")
def test_round_trip(attached, rtt, netem_profile):
    assert 60 <= rtt() < 200
    netem_profile.assert_rtt(median=("60ms", "200ms"))
    assert set(netem_profile.observed()) == {"container/client"}

@pytest.mark.netem(delay="60ms", pods="app=server")
def test_by_a_label_of_docker(attached, rtt):
    assert 60 <= rtt() < 200

@pytest.mark.netem(delay="40ms")
def test_without_pods_all_that_is_attached(attached, rtt):
    assert 80 <= rtt() < 200

@pytest.mark.netem(delay="60ms", pods="container/client", ports="tcp/7")
def test_one_port(attached, rtt, measure):
    assert 60 <= rtt() < 200

@pytest.mark.netem(loss="50%", pods="container/client", to="container/server", ports="udp/7")
def test_loss(attached, measure):
    seen = measure("loss", 400)
    assert 130 < seen["echoed"] < 270  # binomial(400, 1/2): 7 sigma

def test_blocks(attached, rtt, measure, netem):
    with netem.partition("container/client", "container/server"):
        assert measure("loss", 20)["echoed"] == 0
    with netem.blackhole("container/server"):
        assert measure("loss", 20)["echoed"] == 0
    with netem.impair(delay="60ms", pods="container/server", from_="container/client"):
        assert 60 <= rtt() < 200

def test_in_a_block_of_its_own(netem, rtt, attached):
    for one in attached:
        one.detach()
    import os
    with netem.attach(os.environ["SERVER"], as_="again") as again, netem.impair(delay="60ms", pods="container/again"):
        assert again.ip
        assert 60 <= rtt() < 200
    assert again.ip == ""

def test_in_an_async_block(netem, rtt):
    import asyncio, os
    async def main():
        async with netem.attach(os.environ["SERVER"], as_="again"):
            async with netem.impair(delay="60ms", pods="container/again"):
                assert 60 <= await asyncio.to_thread(rtt) < 200
    asyncio.run(main())
"""


def test_the_same_profiles(who, run, pair):
    suite = run(who, PROFILES)
    assert suite.outcomes == {"passed": 8}, suite.output
    assert pair.rtt() < 40


def test_how_the_agent_came(who, run):
    way = {"root": "its network namespace", "user": "a helper container"}[who.name]
    suite = run(who, f"def test_way(attached):\n    assert '{way}' in repr(attached[0])")
    assert suite.outcomes == {"passed": 1}, suite.output


def test_while_it_is_attached_nothing_is_impaired(who, run, pair):
    """A test that only attaches: an agent is there, no profile."""
    suite = run(who, "def test_plain(attached, rtt):\n    assert rtt() < 40")
    assert suite.outcomes == {"passed": 1}, suite.output


def test_what_met_no_packet_is_an_error(run, user):
    suite = run(user, '@pytest.mark.netem(delay="9ms", pods="container/server")\ndef test_idle(attached): ...')
    assert suite.outcomes == {"passed": 1, "error": 1}, suite.output
    assert "met no packet of the test on container/server" in suite.output


def test_the_test_itself_talks_to_a_container_through_its_impairment(who, run):
    """By the container's address, from this machine; that is measured too."""
    suite = run(
        who,
        """
        import socket, time

        @pytest.mark.netem(rtt="60ms", pods="container/server")
        def test_from_the_machine(attached, netem_profile):
            with socket.create_connection((attached[0].ip, 7), 10) as line:
                start = time.perf_counter()
                line.sendall(b"x")
                line.recv(1)
                assert 0.06 <= time.perf_counter() - start < 0.5
            netem_profile.assert_rtt(median=("60ms", "200ms"))
        """,
    )
    assert suite.outcomes == {"passed": 1}, suite.output


def test_the_embedded_cluster_is_not_started_for_containers(run, user):
    suite = run(
        user,
        """
        import pathlib, os

        @pytest.mark.netem(delay="1ms", pods="container/server")
        def test_alone(attached, rtt):
            rtt()
            here = str(os.getpid())
            started = [p.read_text().replace(chr(0), " ") for p in pathlib.Path("/proc").glob("[0-9]*/cmdline")
                       if "node_host" in p.read_text() and f"Pid:{chr(9)}{here}" in (p.parent / "status").read_text()]
            assert not started
        """,
    )
    assert suite.outcomes == {"passed": 1}, suite.output


def test_pods_and_containers_in_one_run(run):
    """Each by its own agent; the bare marker takes both."""
    from people import ROOT

    suite = run(
        ROOT,
        """
        POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "server", "labels": {"app": "server"}},
               "spec": {"containers": [{"name": "main", "command": ["sleep", "infinity"]}]}}

        @pytest.fixture
        def pod(netem_namespace):
            netem_namespace.apply(POD)
            [pod] = netem_namespace.wait_ready()
            return pod

        @pytest.mark.netem(delay="60ms", pods="app=server", inert="ignore")
        def test_both(pod, attached, rtt, netem_profile):
            assert 60 <= rtt() < 200
            assert set(netem_profile.observed()) == {f"{pod.namespace}/server", "container/server"}

        @pytest.mark.netem(delay="60ms", pods="pod/server", inert="ignore")
        def test_the_pod_alone(pod, attached, rtt, netem_profile):
            assert rtt() < 40
            assert set(netem_profile.observed()) == {f"{pod.namespace}/server"}
        """,
    )
    assert suite.outcomes == {"passed": 2}, suite.output


def test_two_networks(run, pair):
    """The container is impaired on the interface of its default route, and proven there."""
    from people import ROOT

    other = f"{pair.network}-b"
    beside.docker("network", "create", other)
    try:
        beside.docker("network", "connect", other, pair.server)
        suite = run(
            ROOT,
            """
            @pytest.mark.netem(delay="60ms", pods="container/server", inert="ignore")
            def test_proven(attached, netem_profile):
                assert len(attached[0].ips) == 2
                assert netem_profile.observed()
            """,
        )
        assert suite.outcomes == {"passed": 1}, suite.output
    finally:
        beside.docker("network", "disconnect", other, pair.server)
        beside.docker("network", "rm", other)
