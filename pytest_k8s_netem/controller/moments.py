"""Moments as Kubernetes' objects write them (RFC 3339, metav1.MicroTime)."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def microtime(unix: float | None = None) -> str:
    """A moment (default: now) in UTC with microseconds, as ``metav1.MicroTime`` is written."""
    moment = datetime.fromtimestamp(time.time() if unix is None else unix, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def unix(text: object) -> float | None:
    """Unix time of a moment in RFC 3339; None if it is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None
