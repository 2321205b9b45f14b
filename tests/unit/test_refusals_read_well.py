"""What a stranger reads of a wrong marker: what, where, what would be right; all mistakes together, each once."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_k8s_netem.cluster.spec import Spec, refusal
from pytest_k8s_netem.profile.arguments import POSITIONAL


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"dely": "1ms"}, "dely: unknown field; did you mean delay?"),
        ({"inertt": "warn", "delay": "1ms"}, "inertt: unknown field; did you mean inert?"),
        ({POSITIONAL: ("100ms",)}, '"100ms": a value without a name; write it as keyword: delay="100ms"'),
        ({"delay": "1ms", "inert": "no"}, 'inert="no": expected one of error, warn, ignore'),
        (
            {"timeline": [{"delay": "1ms"}]},
            "timeline: a field of TrafficProfile objects, no argument; "
            'write the object in a file and give profile="wan.yaml"',
        ),
        (
            {"delay": "1ms", "when": "later", "follow": "always"},
            'when="later": expected one of last, first\nfollow="always": expected one of labels, start',
        ),
        (
            {"profile": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}}},
            "the object of 'netem': expected one TrafficProfile, found Pod",
        ),
        ({}, 'nothing is asked to happen to packets; give delay="100ms", loss="1%", rtt=, rate=, preset= ...'),
        (
            {"count": 1},
            'nothing is asked to happen to packets; give delay="100ms", loss="1%", rtt=, rate=, preset= ...',
        ),
    ],
)
def test_a_wrong_marker(said: dict[str, Any], told: str) -> None:
    assert refusal(Spec("netem", said), ()) == told


def test_a_wrong_name_is_told_as_it_was_written() -> None:
    told = 'name="Wide Area": cannot be part of an object\'s name; use lower-case letters, digits and -'
    assert refusal(Spec("Wide Area", {"delay": "1ms"}), ()) == told


def test_a_profile_that_is_not_there_and_a_wrong_word_are_told_together(tmp_path: Any) -> None:
    told = refusal(Spec("netem", {"profile": "wan.yaml", "when": "later"}), [tmp_path])
    assert told.splitlines() == [
        'when="later": expected one of last, first',
        f"profile=wan.yaml: no such file: {tmp_path / 'wan.yaml'}",
    ]
