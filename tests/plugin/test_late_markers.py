"""Markers that others add: while pytest collects they count, later they are an error."""

from __future__ import annotations

import pytest

PLAIN = "def test_it(): pass"


@pytest.mark.parametrize("hook", ["trylast=True", "wrapper=True"])
def test_one_added_by_the_last_word_on_collection_counts(pytester, hook):
    rest = "    return (yield)\n" if "wrapper" in hook else ""
    body = "    for item in items:\n        item.add_marker(pytest.mark.netem(delay='1ms'))\n"
    whole = f"@pytest.hookimpl({hook})\ndef pytest_collection_modifyitems(items):\n"
    whole += "    result = yield\n" + body + "    return result\n" if rest else body
    pytester.makeconftest("import pytest\n" + whole)
    pytester.makepyfile(PLAIN)
    result = pytester.runpytest("--setup-plan")
    result.stdout.fnmatch_lines(["*SETUP * _netem_first*", "*SETUP * _netem_last*"])


def test_one_of_a_test_that_was_deselected_is_not_looked_at(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.netem(delay="much")
        def test_marked(): ...

        def test_plain(): ...
        """
    )
    result = pytester.runpytest("-k", "plain")
    result.assert_outcomes(passed=1, deselected=1)
    assert "much" not in result.stdout.str()


ADDED = "item.add_marker(pytest.mark.netem(delay='1ms'))"


@pytest.mark.parametrize(
    "where",
    [
        f"def pytest_runtest_setup(item):\n    {ADDED}",
        f"@pytest.fixture(autouse=True)\ndef late(request):\n    item = request.node\n    {ADDED}",
    ],
    ids=["a hook", "a fixture"],
)
def test_one_added_after_collection_is_an_error(pytester, where):
    """Nothing would be impaired, and the test would pass."""
    pytester.makeconftest(f"import pytest\n{where}\n")
    pytester.makepyfile(PLAIN)
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the marker netem came after collection*pytest_collection_modifyitems*"])


def test_one_that_switches_off_may_come_late(pytester):
    pytester.makeconftest(
        "import pytest\ndef pytest_runtest_setup(item):\n    item.add_marker(pytest.mark.netem(None))\n"
    )
    pytester.makepyfile(PLAIN)
    pytester.runpytest().assert_outcomes(passed=1)


def test_unmarked_tests_meet_no_hook_of_ours_at_their_phases(pytester):
    pytester.makeconftest(
        """
        def pytest_unconfigure(config):
            hooks = config.pluginmanager.hook
            for name in ("pytest_runtest_makereport", "pytest_runtest_logreport", "pytest_runtest_protocol"):
                assert not [i for i in getattr(hooks, name).get_hookimpls() if "netem" in i.plugin_name], name
        """
    )
    pytester.makepyfile(PLAIN)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
