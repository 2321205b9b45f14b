"""What each engine cannot do, or not promise, as far as that is known without asking a kernel."""

from __future__ import annotations

from pytest_k8s_netem.model.capabilities import BRANCHES

SEEDED_SINCE = (6, 6)
"""First Linux whose netem takes a seed (TCA_NETEM_PRNG_SEED)."""


def refused(engine: str, *, branching: bool = True) -> tuple[str, ...]:
    """What an engine cannot do on any kernel; ``branching``: whether this one has sch_prio.

    The user-space engine can do every field: it is our own model of a packet's fate (:mod:`model.fate`).
    """
    return ("ordered", "loss.EveryNth", *(() if branching else (BRANCHES,))) if engine == "kernel" else ()


def unpromised(engine: str, release: str) -> tuple[str, ...]:
    """What an engine takes on this kernel without its full effect."""
    if engine != "kernel":
        return ()
    return ("delay_corr",) if version(release) >= SEEDED_SINCE else ("delay_corr", "seed")


def version(release: str) -> tuple[int, ...]:
    """The first two numbers of a kernel's release: ``6.1.0-18-amd64`` is (6, 1)."""
    digits = (part.partition("-")[0] for part in release.split(".")[:2])
    return tuple(int(part) for part in digits if part.isdigit())
