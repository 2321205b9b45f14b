"""Runs of pytest that a test starts."""

from __future__ import annotations

import sys

OPTIONS = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
"""Of each such run: no cache in the folder, and no Hypothesis, whose plugin costs four times what an empty run does."""
PYTEST = (sys.executable, "-m", "pytest", *OPTIONS)
"""The command of a run in a process of its own."""
