"""Lets these tests share the modules beside them: import-mode=importlib leaves sys.path alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    """Whatever a test starts is ended with it."""
    with ExitStack() as stack:
        yield stack
