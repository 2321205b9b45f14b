"""The documentation is current, its examples can be meant, its links lead somewhere."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from _pytest.mark.structures import ParameterSet

from pytest_k8s_netem.cluster import spec
from pytest_k8s_netem.errors import NetemError
from pytest_k8s_netem.profile import arguments
from pytest_k8s_netem.profile.distributions import CHOICES
from pytest_k8s_netem.profile.parse import parse

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "changelog.d").glob("*.md")])
_BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^ *```", re.MULTILINE | re.DOTALL)
WRONG = "# test_wrong.py"
"""First line of an example that shows what a mistake looks like."""
_LINK = re.compile(r"\[[^\]\n]+\]\((?P<target>[^)\s]+)\)")


def blocks(page: Path, language: str) -> Iterator[str]:
    """The code blocks of a page that are in a language."""
    for match in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        if match["language"] == language:
            yield textwrap.dedent(match["text"])


def every(language: str) -> list[ParameterSet]:
    """All code blocks in a language, as parameters."""
    found = ((page, at, text) for page in PAGES for at, text in enumerate(blocks(page, language), start=1))
    return [pytest.param(text, id=f"{page.relative_to(ROOT)}-{at}") for page, at, text in found]


def read(text: str) -> ast.Module:
    """Python as pages have it: decorators may stand alone."""
    alone = text.rstrip().splitlines()[-1:] and text.rstrip().splitlines()[-1].lstrip().startswith("@")
    return ast.parse(f"{text.rstrip()}\ndef test_it(): ...\n" if alone else text)


@pytest.fixture(scope="module")
def generate() -> Iterator[ModuleType]:
    """``docs/generate.py``."""
    found = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[module.__name__] = module
    found.loader.exec_module(module)
    yield module
    del sys.modules[module.__name__]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_generated_parts_are_current(page, generate):
    if page.name == "cli.md" and sys.version_info >= (3, 13):
        pytest.skip("argparse lays its help out in another way since Python 3.13")
    text = page.read_text(encoding="utf-8")
    assert generate.current(text) == text, "run python docs/generate.py"


def test_every_part_stands_on_a_page(generate):
    whole = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert {name for name in generate.PARTS if f"<!-- generated: {name} -->" not in whole} == set()


def test_a_stale_page_is_seen(generate):
    page = ROOT / "docs" / "reference" / "options.md"
    text = page.read_text(encoding="utf-8")
    assert generate.current(text.replace("`--netem-engine`", "`--netem-motor`")) == text


@pytest.mark.parametrize("text", every("python"))
def test_python_parses(text):
    read(text)


@pytest.mark.parametrize("text", [case for case in every("python") if WRONG not in case.values[0]])
def test_markers_can_be_meant(text):
    for call in ast.walk(read(text)):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.netem" and call.keywords:
            said = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords if word.arg}
            if not {"profile"} & set(said):
                assert spec.refusal(spec.Spec(said.pop("name", "netem"), said), ()) == ""


@pytest.mark.parametrize("text", every("yaml"))
def test_objects_can_be_meant(text):
    yaml = pytest.importorskip("yaml")
    for obj in yaml.safe_load_all(text):
        if isinstance(obj, dict) and obj.get("kind") == "TrafficProfile":
            parse(obj)


def test_a_wrong_object_is_seen():
    with pytest.raises(NetemError, match=r"spec\.impairement"):
        parse({"apiVersion": "k8s-netem.riasc.eu/v1", "kind": "TrafficProfile", "spec": {"impairement": {}}})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for match in _LINK.finditer(_BLOCK.sub("", page.read_text(encoding="utf-8"))):
        path, _, anchor = match["target"].partition("#")
        if "://" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), match["target"]
        assert not anchor or anchor in anchors(target), match["target"]


def anchors(page: Path) -> set[str]:
    """The names that headings get on GitHub: lower case, words joined by hyphens."""
    headings = re.findall(r"^#+ (.*)$", _BLOCK.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_argument_of_the_marker_is_told():
    page = (ROOT / "docs" / "reference" / "marker.md").read_text(encoding="utf-8")
    told = {name for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert {*arguments.KNOWN, *spec.FACE} - told == set()


def test_every_distribution_is_told():
    page = (ROOT / "docs" / "reference" / "marker.md").read_text(encoding="utf-8")
    assert {name for name in CHOICES if f"`{name}`" not in page} == set()


def test_every_page_is_listed():
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / match["target"]).resolve() for match in _LINK.finditer(index.read_text(encoding="utf-8"))}
    pages = {page.resolve() for page in (ROOT / "docs").rglob("*.md")} - {index.resolve()}
    assert pages - linked == set()
