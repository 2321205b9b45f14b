"""Lets these tests share the modules beside them: import-mode=importlib leaves sys.path alone.

Hypothesis draws the same examples in CI each time; elsewhere new ones, so that searching goes on.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeat", settings.get_profile("search"), derandomize=True, database=None)
settings.load_profile("repeat" if os.environ.get("CI") else "search")
