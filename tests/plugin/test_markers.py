"""Which markers hold for a test, in which order: levels, names, switching off."""

from __future__ import annotations

import pytest

SHOW = """
import pytest
from pytest_k8s_netem import markers

def pytest_collection_finish(session):
    for item in session.items:
        told = [(d.name, d.arguments.get("delay"), d.order[0]) for d in markers.declared(item)]
        print("DECLARED", item.name, [(name, delay) for name, delay, _ in told])
"""


def _declared(pytester: pytest.Pytester, source: str) -> dict[str, str]:
    pytester.makeconftest(SHOW)
    pytester.makepyfile(source)
    result = pytester.runpytest_subprocess("--collect-only", "-q")
    lines = [line.split(" ", 2) for line in result.outlines if line.startswith("DECLARED")]
    return {name: told for _, name, told in lines}


def test_a_closer_level_replaces_those_of_the_same_name(pytester):
    told = _declared(
        pytester,
        """
        import pytest
        pytestmark = pytest.mark.netem(delay="1ms")

        def test_module(): ...

        @pytest.mark.netem(delay="2ms")
        class TestClass:
            def test_class(self): ...

            @pytest.mark.netem(delay="3ms")
            def test_function(self): ...

            @pytest.mark.netem(delay="4ms", name="other")
            def test_other(self): ...

            @pytest.mark.netem(None)
            def test_off(self): ...
        """,
    )
    assert told == {
        "test_module": "[('netem', '1ms')]",
        "test_class": "[('netem', '2ms')]",
        "test_function": "[('netem', '3ms')]",
        "test_other": "[('netem', '2ms'), ('other', '4ms')]",
        "test_off": "[]",
    }


def test_stacked_markers_apply_from_the_top_line_down(pytester):
    told = _declared(
        pytester,
        """
        import pytest

        @pytest.mark.netem(delay="1ms")
        @pytest.mark.netem(delay="2ms", name="second")
        @pytest.mark.netem(delay="3ms")
        def test_stacked(): ...

        class TestBody:
            pytestmark = [pytest.mark.netem(delay="1ms"), pytest.mark.netem(delay="2ms")]
            def test_body(self): ...
        """,
    )
    assert told == {
        "test_stacked": "[('netem', '1ms'), ('second', '2ms'), ('netem-2', '3ms')]",
        "test_body": "[('netem', '1ms'), ('netem-2', '2ms')]",
    }


def test_the_marks_of_a_parameter_are_the_closest(pytester):
    told = _declared(
        pytester,
        """
        import pytest

        @pytest.mark.netem(delay="1ms")
        @pytest.mark.parametrize("n", [
            pytest.param(1, id="own", marks=pytest.mark.netem(delay="9ms")),
            pytest.param(2, id="plain"),
            pytest.param(3, id="off", marks=pytest.mark.netem(None)),
        ])
        def test_p(n): ...
        """,
    )
    assert told == {
        "test_p[own]": "[('netem', '9ms')]",
        "test_p[plain]": "[('netem', '1ms')]",
        "test_p[off]": "[]",
    }
