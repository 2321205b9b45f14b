"""What the documentation's pages hold: code blocks, and files that a reader is to write."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

_BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^ *```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w-]+\.(?:py|yaml))\n")


def blocks(page: Path) -> Iterator[str]:
    """The code blocks of a page."""
    for match in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield textwrap.dedent(match["text"])


def file(block: str) -> str:
    """The name of the file that a block is: its first line is a comment with it; "" if it is none."""
    named = _FILE.match(block)
    return named[1] if named else ""


def files(page: Path) -> Iterator[tuple[str, str]]:
    """Blocks that are files, (name, text)."""
    for text in blocks(page):
        if name := file(text):
            yield name, text
