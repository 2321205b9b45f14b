"""Namespaces: fresh ones in the scope that was chosen, and ``default`` for tests that do not ask."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.needs("netns")

TWO = """
import pathlib

def note(namespace):
    with pathlib.Path("names").open("a") as file:
        print(namespace.name, file=file)

class TestBoth:
    def test_one(self, netem_namespace):
        note(netem_namespace)

    def test_two(self, netem_namespace):
        note(netem_namespace)

def test_three(netem_namespace):
    note(netem_namespace)
"""


@pytest.mark.parametrize(("scope", "different"), [("function", 3), ("class", 2), ("module", 1), ("session", 1)])
def test_the_scope_is_chosen_by_an_option(suite, pytester, scope, different):
    suite(TWO, f"--netem-namespace-scope={scope}").assert_outcomes(passed=3)
    assert len(set((pytester.path / "names").read_text().split())) == different


def test_what_is_in_a_namespace_goes_with_it(suite):
    result = suite(
        """
        KEPT = []

        def test_made(netem_namespace):
            netem_namespace.apply([manifest("web"), manifest("many", replicas=2)])
            pods = netem_namespace.wait_ready()
            assert len(pods) == 3
            KEPT.append(netem_namespace)

        def test_gone(netem_cluster):
            assert netem_cluster.pods(namespace=KEPT[0].name) == []
            with pytest.raises(Exception, match="no pod 'web'.*there are: none"):
                KEPT[0].pod("web")
        """
    )
    result.assert_outcomes(passed=2)


@pytest.mark.usefixtures("engine")
def test_a_marker_looks_in_the_tests_own_namespace(suite):
    result = suite(
        """
        @pytest.fixture
        def own(netem_namespace):
            netem_namespace.apply([manifest("ann"), manifest("bob")])
            netem_namespace.wait_ready()
            return netem_namespace

        @pytest.mark.netem(delay=LATE)
        def test_fresh(people, own):
            assert late(own.pod("ann"), own.pod("bob"))
            assert not late(people.pod("ann"), people.pod("bob"))

        @pytest.mark.netem(delay=LATE)
        def test_default(people):
            assert late(people.pod("ann"), people.pod("bob"))

        def test_fixture(people, own, netem):
            with netem.impair(delay=LATE):
                assert late(own.pod("ann"), own.pod("bob"))
                assert not late(people.pod("ann"), people.pod("bob"))
        """
    )
    result.assert_outcomes(passed=3)


def test_the_handle_has_the_clusters_methods(suite):
    result = suite(
        """
        def test_bound(netem_namespace, netem_cluster):
            netem_namespace.apply(manifest("web", replicas=1))
            (pod,) = netem_namespace.wait_ready("app=web")
            assert pod.namespace == netem_namespace.name
            assert netem_namespace.exec(pod.name, ["echo", "hi"]).stdout == "hi\\n"
            assert netem_namespace.logs(pod.name) == ""
            netem_namespace.scale("web", 2)
            netem_namespace.wait_ready()
            assert len(netem_namespace.pods("app=web")) == 2
            assert netem_cluster.pods() == []
            assert netem_cluster.pod(pod.name, namespace=netem_namespace.name).ip == pod.ip
        """
    )
    result.assert_outcomes(passed=1)
