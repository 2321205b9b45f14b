"""A run of pytest that another test watches has passed only if nothing is amiss but a busy machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_k8s_netem.cluster.findings import Strictness, judge
from pytest_k8s_netem.cluster.record import Record
from pytest_k8s_netem.controller.evidence import Gap
from pytest_k8s_netem.judge.effect import Effect
from pytest_k8s_netem.judge.verdict import _overloaded
from pytest_k8s_netem.model.observed import StageObserved

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "kind" / "faults"), str(TESTS / "faults")]

from innerrun import InnerRun  # noqa: E402 - as the tests on kind import it

LATE, LOST = StageObserved(passed=100, lagged=20), StageObserved(passed=100, lost=2)
ENDS = """
from pytest_k8s_netem.errors import ProofError

@pytest.fixture
def ends():
    yield
    if {told!r}:
        raise {error}({told!r})

def test_it(ends):
    assert {good}
"""


def told(*seen: StageObserved, gaps: tuple[Gap, ...] = (), packets: int = 1) -> str:
    """What the plugin says of an impairment that ended so."""
    problems = [f"pod/default/web: {problem}" for one in seen for problem in _overloaded("p/egress", one)]
    effect = Effect(packets=packets, delayed=packets)
    record = Record("netem", "delay 1ms", {"default/web"}, effect=effect, gaps=list(gaps), problems=problems)
    return "\n".join(finding.text for finding in judge(record, Strictness()))


@pytest.mark.parametrize("error", ["ProofError", "pytest.fail.Exception"])
@pytest.mark.parametrize("text", ["", told(LATE), told(LATE, LATE)])
def test_late_packets_are_excused(text: str, error: str, tmp_path: Path) -> None:
    """A block's end raises the one, a marker's the other."""
    InnerRun(tmp_path, "none", ENDS.format(told=text, good=True, error=error)).passed()


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (told(LATE, LOST), True),
        (told(LATE, gaps=(Gap("default/web", 1.0, 2.0, "worker"),)), True),
        (told(LATE, packets=0), True),
        (told(LATE) + "\nand something else", True),
        (told(LATE), False),
    ],
    ids=["lost", "gap", "inert", "other", "body"],
)
def test_what_stands_beside_late_packets_is_not(text: str, good: bool, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="test_it"):
        InnerRun(tmp_path, "none", ENDS.format(told=text, good=good, error="pytest.fail.Exception")).passed()


@pytest.mark.parametrize("source", ["", "raise SystemExit('no')", "def test_it(nothing): pass"])
def test_a_run_without_a_test_has_not_passed(source: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        InnerRun(tmp_path, "none", source).passed()
