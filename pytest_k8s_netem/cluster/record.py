"""What is known of an impairment: asked, met, proven, lost; the matter of findings and reports."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_k8s_netem.judge.effect import Effect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pytest_k8s_netem.controller.evidence import Gap
    from pytest_k8s_netem.model.observed import CheckObserved
    from pytest_k8s_netem.model.plan import Check


@dataclass(slots=True)
class Record:
    """What is known of an imposition when it has ended, or so far.

    :ivar spared: what it leaves alone, each once. :ivar notes: what may surprise, pods that it cannot touch among it.
    :ivar blind: a pod ended before it could be read what it had met; there may have been more than :attr:`effect`.
    """

    name: str
    phrase: str
    pods: set[str] = field(default_factory=set)
    engines: set[str] = field(default_factory=set)
    effect: Effect = field(default_factory=Effect)
    gaps: list[Gap] = field(default_factory=list)
    probes: list[tuple[str, Check, CheckObserved]] = field(default_factory=list)
    proof: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    blind: bool = False
    spared: dict[str, None] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    def fact(self, findings: Iterable[str]) -> dict[str, Any]:
        """What a report needs, JSON-simple; times in ns."""
        rtts = [sorted(seen.rtts)[len(seen.rtts) // 2] for _, _, seen in self.probes if seen.rtts]
        return {
            "name": self.name,
            "phrase": self.phrase,
            "pods": sorted(self.pods),
            "engine": ",".join(sorted(self.engines)),
            "proof": ", ".join(sorted(self.proof)),
            "rtt": [min(rtts), max(rtts)] if rtts else [],
            "packets": self.effect.packets,
            "dropped": self.effect.dropped,
            "spared": list(self.spared),
            "notes": list(self.notes),
            "findings": list(findings),
        }
