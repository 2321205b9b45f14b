"""Words for states that several reports tell."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pytest_k8s_netem.run.snapshot import HeldSeen

DONE = {"dropped": "lost", "delayed": "delayed", "duplicated": "doubled", "corrupted": "corrupted"}
"""What may have been done to packets, by counter."""


def profile_state(status: Mapping[str, Any]) -> tuple[str, str]:
    """A TrafficProfile's state and what there is to say of it: (``verified``, "") or (``not applied``, why)."""
    conditions = status.get("conditions") or ()
    if not conditions:
        return "new", "no controller has taken it up yet"
    for one in conditions:
        if one["status"] != "True":
            return f"not {str(one['type']).lower()}", str(one.get("message") or one["reason"])
    return "verified", ""


def effect_words(held: HeldSeen) -> str:
    """What a pod's share of a profile did to packets."""
    done = [f"{held.effect[key]:.0f} {word}" for key, word in DONE.items() if held.effect.get(key)]
    return ", ".join([f"{counted(held.effect.get('packets', 0), 'packet')} met", *done, f"{held.engine} engine"])


def counted(number: float, thing: str) -> str:
    """``1 packet``, ``2 packets``."""
    return f"{number:.0f} {thing}{'' if number == 1 else 's'}"
