"""What is in the two images, and what they are called."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pytest_k8s_netem.kube import image
from pytest_k8s_netem.kube.dependencies import REQUIREMENTS
from pytest_k8s_netem.kube.image import AGENT, CONTROLLER, Image

ROOT = Path(__file__).parents[2]
BLOCKED = """
import importlib, pkgutil, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name in {blocked!r}:
            raise ImportError(name)
sys.meta_path.insert(0, Blocker())
for room in {rooms!r}:
    package = importlib.import_module("pytest_k8s_netem." + room)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
"""


@pytest.mark.parametrize("one", [AGENT, CONTROLLER], ids=lambda one: one.dockerfile)
def test_an_image_is_named_by_what_is_in_it(one: Image) -> None:
    files = one.files()
    name = image.tag(one, files)
    assert name == image.tag(one, dict(reversed(files.items())))
    assert name != image.tag(one, {**files, "pytest_k8s_netem/errors.py": b""})
    assert image.archive(files) == image.archive(one.files())


def test_the_agents_image_holds_the_shipped_set_and_nothing_else() -> None:
    rooms = {path.split("/")[1] for path in AGENT.files() if "/" in path}
    assert rooms == {"__init__.py", "errors.py", "agent", "model"}
    assert all(path.endswith(".py") for path in AGENT.files() if path != "Dockerfile")


def test_the_controllers_image_has_what_its_rooms_import() -> None:
    """But for the agent, which is only started there: its relay."""
    rooms = [name for name in CONTROLLER.shipped if not name.endswith(".py") and name != "agent"]
    blocked = ["pytest", "_pytest", "pyroute2", *(f"pytest_k8s_netem.{room}" for room in ("agent", "local", "cluster"))]
    program = BLOCKED.format(rooms=rooms, blocked=blocked)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_requirements_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(REQUIREMENTS) <= {*project["dependencies"], *project["optional-dependencies"]["controller"]}
    assert set(project["optional-dependencies"]["controller"]) <= set(REQUIREMENTS)
