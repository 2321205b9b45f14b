"""The plugin costs nothing unless it is used."""

from __future__ import annotations

import json

LOOK = """
import json, sys

def pytest_unconfigure(config):
    mine = sorted(m for m in sys.modules if m.startswith("pytest_k8s_netem"))
    third = sorted({m.split(".")[0] for m in sys.modules} & {
        "kubernetes", "pyroute2", "yaml", "tenacity", "websockets", "testcontainers", "asyncio", "ssl"})
    with open("seen.json", "w") as file:
        json.dump({"mine": mine, "third": third}, file)
"""


def test_an_unmarked_suite_loads_four_small_modules(pytester):
    pytester.makeconftest(LOOK)
    pytester.makepyfile("def test_nothing(): pass")
    assert pytester.runpytest_subprocess("-p", "no:xdist", "-p", "no:hypothesispytest").ret == 0
    seen = json.loads((pytester.path / "seen.json").read_text())
    assert seen["mine"] == [
        "pytest_k8s_netem",
        "pytest_k8s_netem.fixtures",
        "pytest_k8s_netem.markers",
        "pytest_k8s_netem.options",
        "pytest_k8s_netem.plugin",
    ]


def test_collecting_markers_loads_no_third_party_module(pytester):
    pytester.makeconftest(LOOK)
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.netem(delay="100ms", loss="1%", pods="app=web", to="app=db", ports="tcp/5432")
        def test_it(netem_cluster, netem_profile): ...

        @pytest.mark.netem(profile="wan.yaml")
        def test_file(): ...
        """
    )
    (pytester.path / "wan.yaml").write_text("{}")
    collect = ("--collect-only", "-q", "-p", "no:xdist", "-p", "no:hypothesispytest")
    seen = []
    for without in [(), ("-p", "no:netem", "-W", "ignore")]:
        assert pytester.runpytest_subprocess(*collect, *without).ret == 0
        seen.append(json.loads((pytester.path / "seen.json").read_text()))
    with_it, alone = seen
    assert with_it["mine"]
    assert alone["mine"] == []
    assert with_it["third"] == alone["third"]  # nothing; asyncio and ssl since Python 3.14, whose pdb pytest loads


def test_nothing_is_created_unless_used(pytester):
    pytester.makepyfile("def test_nothing(): pass")
    before = set(pytester.path.iterdir())
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "--collect-only", "-q")
    new = {path.name for path in set(pytester.path.iterdir()) - before}
    assert not {name for name in new if "netem" in name.replace(pytester.path.name, "")}
    assert new <= {"__pycache__", "stdout", "stderr", "runpytest-0", "runpytest-current"}


def test_unmarked_tests_get_no_fixture_of_ours(pytester):
    pytester.makepyfile(
        """
        def test_nothing(request):
            assert not [name for name in request.fixturenames if "netem" in name]
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
