"""What provider kind needs of a machine: told with the way to get it, and at length only once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

KIND = """#!/bin/sh
case "$1 $2" in
  "version ") echo "kind {version} go1.26 linux/amd64" ;;
  "get clusters") echo >&2 "No kind clusters found." ;;
  "create cluster")
    while [ "$(wc -l <"$PATH/asked")" -lt {workers} ]; do sleep 0.1; done  # until every worker wants a cluster
    echo >&2 "Creating cluster"; echo >&2 "ERROR: failed to create cluster: no room"; exit 1 ;;
esac
"""
DOCKER = """#!/bin/sh
[ "$1" != version ] || {{ echo version >>"$PATH/asked"; echo >&2 "{said}"; exit {status}; }}
echo there
"""
TESTS = """
def test_one(netem_cluster): ...
def test_two(netem_namespace): ...
def test_three(netem_cluster): ...
"""
Machine = Callable[..., None]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A PATH with just these programs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where processes of a run meet
    for program in ("sh", "sleep", "wc"):
        (tmp_path / program).symlink_to(str(shutil.which(program, path=os.defpath)))

    def make(**programs: str) -> None:
        for name, text in programs.items():
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)

    return make


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    pytester.makepyfile(TESTS)
    return pytester.runpytest_subprocess("--netem-provider=kind", "-p", "no:cacheprovider", *options)


def kind(version: str = "v0.33.0", workers: int = 1) -> str:
    return KIND.format(version=version, workers=workers)


def docker(said: str = "", status: int = 0) -> str:
    return DOCKER.format(said=said, status=status)


def test_kind_is_missing(pytester: pytest.Pytester, machine: Machine) -> None:
    machine(docker=docker())
    result = run(pytester)
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(["there is no kind on PATH; install kind (https://kind.sigs.k8s.io/*"])


def test_kind_is_too_old(pytester: pytest.Pytester, machine: Machine) -> None:
    machine(docker=docker(), kind=kind("v0.11.1"))
    run(pytester).stdout.fnmatch_lines(
        [f"kind v0.11.1 ({os.environ['PATH']}/kind) is too old: v0.20.0 or later is needed; install kind *"]
    )


def test_docker_is_missing(pytester: pytest.Pytester, machine: Machine) -> None:
    machine(kind=kind())
    run(pytester).stdout.fnmatch_lines(["there is no docker on PATH; install Docker Engine *"])


def test_docker_does_not_run(pytester: pytest.Pytester, machine: Machine) -> None:
    machine(kind=kind(), docker=docker("Cannot connect to the Docker daemon", 1))
    run(pytester).stdout.fnmatch_lines(
        [
            "Docker does not answer: Cannot connect to the Docker daemon",
            "start it (systemctl start docker*",
        ]
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cluster_that_cannot_be_made_is_told_once(
    pytester: pytest.Pytester, machine: Machine, tmp_path: Path, workers: int
) -> None:
    machine(kind=kind(workers=workers), docker=docker())
    result = run(pytester, *(["-n2"] if workers > 1 else []))
    result.assert_outcomes(errors=3)
    told = result.stdout.str().partition("short test summary")[0]  # which in CI repeats messages whole
    assert told.count("Creating cluster") == 1, "all that kind says"
    shown = [line for line in result.outlines if line.startswith("kind cluster netem-")]
    assert len(shown) == 3
    assert all("cannot be made: failed to create cluster: no room" in line for line in shown)
    assert not list(tmp_path.glob("pytest-k8s-netem-*/*")), "nothing is left"


def test_a_missing_need_may_be_a_skip(pytester: pytest.Pytester, machine: Machine) -> None:
    machine(docker=docker())
    run(pytester, "--netem-missing=skip").assert_outcomes(skipped=3)


def test_what_fails_at_the_end_is_no_missing_need(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from pytest_k8s_netem.errors import ProviderError

        @pytest.fixture
        def early(_netem_session):
            raise ProviderError("there is no such thing here")

        @pytest.fixture
        def late(_netem_session):
            yield
            raise ProviderError("it cannot be deleted")

        def test_early(early): ...
        def test_late(late): ...
        """
    )
    result = pytester.runpytest_subprocess("--netem-missing=skip", "-p", "no:cacheprovider")
    result.assert_outcomes(skipped=1, passed=1, errors=1)
    result.stdout.fnmatch_lines(["*it cannot be deleted*"])
