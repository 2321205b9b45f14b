"""What runs beside the traffic, with rights over networks: what it needs, and nothing that could be made to do more."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_k8s_netem.kube import ephemeral, image, sidecar

PACKAGE = image.PACKAGE
SOURCES = sorted(path for name in image.AGENT.shipped for path in (PACKAGE / name, *(PACKAGE / name).rglob("*.py")))
MODULES = [path for path in SOURCES if path.suffix == ".py"]
ALLOWED = {
    *("__future__", "collections", "contextlib", "dataclasses", "enum", "functools", "types", "typing", "traceback"),
    *("array", "bisect", "hashlib", "heapq", "itertools", "json", "math", "random", "secrets", "struct", "time"),
    *(
        "_json",
        "_signal",
        "_socket",
        "_thread",
        "ctypes",
        "errno",
        "fcntl",
        "gc",
        "mmap",
        "os",
        "select",
        "selectors",
        "signal",
        "socket",
        "sys",
    ),
    "pytest_k8s_netem",
}
"""Modules that are looked at one by one before they are let in: none runs programs, decodes objects or speaks HTTP."""
CALLS = frozenset({"eval", "exec", "compile", "__import__", "breakpoint", "input"})
ATTRIBUTES = frozenset({"system", "popen", "posix_spawn", "posix_spawnp"})


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def imported(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            yield str(node.module)


def called(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def ids(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_there_is_something_to_look_at() -> None:
    assert len(MODULES) > 60


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_only_known_modules_are_imported(path: Path) -> None:
    names = set(imported(path))
    assert {name.partition(".")[0] for name in names} <= ALLOWED
    ours = {name for name in names if name.startswith("pytest_k8s_netem")}
    rooms = ("pytest_k8s_netem.agent", "pytest_k8s_netem.model", "pytest_k8s_netem.errors")
    assert all(name.startswith(rooms) for name in ours)


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_nothing_is_evaluated_and_no_program_is_run(path: Path) -> None:
    calls = set(called(path))
    assert not calls & CALLS
    started = {call for call in calls if call.startswith(("os.exec", "os.spawn", "subprocess."))}
    assert not started
    assert not {call.rpartition(".")[2] for call in calls if "." in call} & ATTRIBUTES
    for node in nodes(path):
        if isinstance(node, ast.keyword) and node.arg == "shell":
            pytest.fail(f"line {node.lineno}: shell=")


def test_nobody_listens_but_on_a_unix_socket() -> None:
    listening = {ids(path): path for path in MODULES if any(call.endswith(".listen") for call in called(path))}
    assert set(listening) == {"agent/serve.py"}
    made = [call for call in nodes(listening["agent/serve.py"]) if isinstance(call, ast.Attribute)]
    families = {node.attr for node in made if node.attr.startswith("AF_")}
    assert families == {"AF_UNIX"}


def test_frames_are_decoded_in_one_place() -> None:
    """A second reader of frames would be a second one to limit; the others read what their own forks wrote."""
    forks = {"agent/dataplane/worker.py", "agent/dataplane/process.py", "agent/probe/child.py"}
    assert {ids(path) for path in MODULES if {"json.loads", "json.load"} & set(called(path))} == {
        "model/jsontext.py",
        *forks,
    }
    assert {ids(path) for path in MODULES if "jsontext.read" in set(called(path))} == {"model/frames.py"}


def test_the_image_is_made_of_the_shipped_set_alone() -> None:
    files = image.AGENT.files()
    assert set(files) - {"Dockerfile"} == {f"pytest_k8s_netem/{ids(path)}" for path in MODULES}
    steps = [line for line in files["Dockerfile"].decode().splitlines() if line and not line.startswith("#")]
    assert [line.split()[0] for line in steps] == ["ARG", "FROM", "COPY", "RUN", "ENTRYPOINT", "CMD"]
    assert steps[3].startswith('RUN ["python3", "-I", "-m", "compileall"'), "nothing is fetched"
    assert image.AGENT.requirements == ()


@pytest.mark.parametrize(
    "container",
    [sidecar.container("agent"), ephemeral.manifest("netem-agent-1", "agent", "shop/web")],
    ids=lambda c: c["name"],
)
def test_its_container_may_do_nothing_else(container: dict) -> None:  # type: ignore[type-arg]
    security = container["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}
    assert (security["privileged"], security["allowPrivilegeEscalation"]) == (False, False)
    assert security["readOnlyRootFilesystem"] is True
    assert "ports" not in container
    assert "command" not in container, "the image's own program, never another"
    assert container["args"][0] == "keep"
