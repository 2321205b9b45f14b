"""Who can say what became of a profile: the controller, in this process or in the cluster."""

from __future__ import annotations

from typing import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_k8s_netem.controller.evidence import Evidence
    from pytest_k8s_netem.model.observed import CheckObserved
    from pytest_k8s_netem.model.plan import Check
    from pytest_k8s_netem.resolve.pairs import Pair


class Witness(Protocol):
    """What fixtures, assertions and reports ask of a controller."""

    async def evidence(self, profile: str) -> Evidence:
        """What is known of a profile, its pods read back just now.

        :raises ImpairmentError: if there is no such profile, or the controller cannot be asked.
        """

    async def measure(self, checks: Mapping[str, Sequence[Check]]) -> dict[str, tuple[CheckObserved, ...]]:
        """Run checks in pods, beside each other: by pod, results in the checks' order.

        :raises ImpairmentError: if a pod has no agent, or it cannot probe.
        """

    async def pairs(self, profile: str) -> tuple[Pair, ...]:
        """Every pair of pods that a profile comes between, with the packet to measure it by."""
