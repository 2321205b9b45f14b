"""The suite bites: with each mistake of :mod:`mutations` in a copy of the package, the tests named there fail."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mutations import MUTATIONS, ON_THE_KERNEL_ENGINE, Mutation
from nested import PYTEST

pytestmark = [pytest.mark.needs("linux", "root", "netns", "ping", "tc"), pytest.mark.timeout(300)]

TESTS = Path(__file__).parents[1]
FAILED, PASSED = 1, 0
"""Exit statuses of pytest: any other one means that the tests could not even be run."""


@contextmanager
def _package() -> Iterator[Path]:
    """A copy of the package; the folder that it lies in."""
    import pytest_k8s_netem

    with tempfile.TemporaryDirectory(prefix="netem-mutation-") as folder:
        whole = Path(pytest_k8s_netem.__file__).parent
        # What is compiled comes along: its date is that of its source, so only the mistake is compiled anew.
        shutil.copytree(whole, Path(folder, whole.name))
        yield Path(folder)


def _run(folder: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run tests with the package of that folder: in this process, in the node host and in the agent."""
    path = [str(folder), *(entry for entry in sys.path if entry)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "NETEM", "COV"))}
    env = {**kept, "PYTHONPATH": os.pathsep.join(path)}
    options = ["-x", "-q", "-p", "no:randomly", "--basetemp", str(folder / "tests")]
    argv = [*PYTEST, *options, *(str(TESTS / test) for test in tests)]
    # From there, because the working directory comes before all else on the path.
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)


@functools.cache
def _as_it_is(tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    with _package() as folder:
        return _run(folder, tests)


def _name(mutation: Mutation) -> str:
    return mutation.name


@pytest.mark.parametrize("mutation", MUTATIONS, ids=_name)
def test_the_suite_notices(mutation: Mutation) -> None:
    _assert_noticed(mutation)


@pytest.mark.needs("netem", "flower")
@pytest.mark.parametrize("mutation", ON_THE_KERNEL_ENGINE, ids=_name)
def test_the_suite_notices_on_the_kernel_engine(mutation: Mutation) -> None:
    _assert_noticed(mutation)


def _assert_noticed(mutation: Mutation) -> None:
    with _package() as folder:
        path = folder / "pytest_k8s_netem" / mutation.file
        text = path.read_text()
        assert text.count(mutation.old) == 1, f"{mutation.file} has changed: say the mutation anew"
        path.write_text(text.replace(mutation.old, mutation.new))
        ended = _run(folder, mutation.tests)
    assert ended.returncode == FAILED, ended.stdout[-3000:] + ended.stderr[-1000:]
    healthy = _as_it_is(mutation.tests)
    assert healthy.returncode == PASSED, healthy.stdout[-3000:] + healthy.stderr[-1000:]
    assert " passed" in healthy.stdout, healthy.stdout[-1000:]
