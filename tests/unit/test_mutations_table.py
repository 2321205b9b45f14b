"""What the table of mistakes (tests/faults/mutations.py) names is there; the lane `local` then makes each of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from nested import PYTEST

import pytest_k8s_netem

PACKAGE, TESTS = Path(pytest_k8s_netem.__file__).parent, Path(__file__).parents[1]


@pytest.fixture
def mutations(monkeypatch: pytest.MonkeyPatch) -> tuple:
    monkeypatch.syspath_prepend(TESTS / "faults")
    from mutations import MUTATIONS

    return MUTATIONS


def test_each_text_is_once_in_the_package(mutations: tuple) -> None:
    counted = {(entry.name, (PACKAGE / entry.file).read_text().count(entry.old)) for entry in mutations}
    assert {entry for entry in counted if entry[1] != 1} == set()


@pytest.mark.needs("linux")
def test_the_tests_are_there(mutations: tuple, tmp_path: Path) -> None:
    named = sorted({str(TESTS / test) for entry in mutations for test in entry.tests})
    argv = [
        *PYTEST,
        "--collect-only",
        "-q",
        f"--rootdir={tmp_path}",
        "-c",
        str(TESTS.parent / "pyproject.toml"),
        *named,
    ]
    collected = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert collected.returncode == 0, collected.stdout[-3000:] + collected.stderr[-1000:]
