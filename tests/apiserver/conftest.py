"""Lets these tests share the modules beside them, and the suite of every provider: importlib leaves sys.path alone."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cluster")]
