"""What README, tutorial and how-to guides say is typed in, and run, and ends as they say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from pages import blocks, file, files

pytestmark = pytest.mark.needs("netns")

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial" / "first-test.md"
ELSEWHERE = {"attach-containers.md"}
"""Guides that the lane with Docker follows."""
GUIDES = sorted(page for page in (ROOT / "docs" / "how-to").glob("*.md") if page.name not in ELSEWHERE)
NEEDS = {"real-programs.md": "redis"}
"""Programs that a guide's tests are about."""
_COMMAND = re.compile(r"\$ pytest\b(?P<arguments>.*)\n")


def outcomes(text: str) -> dict[str, int]:
    """How many tests passed, failed ... by pytest's last line in an output."""
    return pytest.RunResult.parse_summary_nouns(text.splitlines())


def follow(page: Path, pytester: pytest.Pytester) -> int:
    """Write each file and run each command, top to bottom; the number of commands."""
    commands = 0
    for text in blocks(page):
        if name := file(text):
            (pytester.path / name).write_text(text, encoding="utf-8")
        elif command := _COMMAND.match(text):
            commands += 1
            result = pytester.runpytest_subprocess(*shlex.split(command["arguments"]))
            assert result.parseoutcomes() == outcomes(text), command[0]
    return commands


@pytest.mark.parametrize("page", [ROOT / "README.md", TUTORIAL], ids=lambda page: page.stem)
def test_a_page_ends_as_it_says(page, pytester):
    assert follow(page, pytester) > 0


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=pytest.mark.needs(NEEDS[page.name]) if page.name in NEEDS else ())
        for page in GUIDES
        if any(name.startswith("test_") for name, _ in files(page))
    ],
)
def test_a_guides_tests_pass(page, pytester):
    """They build on the tutorial's shop as it is at its end."""
    written = {name: text for name, text in files(TUTORIAL) if not name.startswith("test_")} | dict(files(page))
    for name, text in written.items():
        (pytester.path / name).write_text(text, encoding="utf-8")
    result = pytester.runpytest_subprocess("-Werror::pytest.PytestWarning")
    assert set(result.parseoutcomes()) == {"passed"}
