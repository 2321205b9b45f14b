"""What profiles did under plans that are in force no more, summed, so that it stays small however long they live."""

from __future__ import annotations

from dataclasses import replace

from pytest_k8s_netem.controller.evidence import Ended
from pytest_k8s_netem.judge.effect import Effect, effects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.model.observed import Observed
    from pytest_k8s_netem.model.plan import Plan

MOST_ENDED = 100
"""Pods that are remembered one by one after their end, a profile; the status of a profile names as many."""
OTHERS = "others"
"""What is said instead of their names for the pods that ended before those."""


class Tally:
    """One pod's, by profile."""

    def __init__(self) -> None:
        self._effects: dict[str, Effect] = {}

    def add(self, plan: Plan, observed: Observed) -> None:
        """Count a plan that ends, by its last counters."""
        for profile, effect in effects(plan, observed).items():
            self._effects[profile] = self.of(profile) + effect

    def of(self, profile: str) -> Effect:
        """A profile's, since it was forgotten last."""
        return self._effects.get(profile, Effect())

    def forget(self, profile: str) -> None:
        """What the profile did until now is nobody's business any more."""
        self._effects.pop(profile, None)

    def clear(self) -> None:
        """Likewise for all profiles."""
        self._effects.clear()


class Past:
    """The pods that held a profile and do so no more, by profile."""

    def __init__(self) -> None:
        self._ended: dict[str, dict[str, Ended]] = {}

    def of(self, profile: str) -> tuple[Ended, ...]:
        """A profile's, the oldest first."""
        return tuple(self._ended.get(profile, {}).values())

    def add(self, profile: str, ended: Ended) -> None:
        """One more; a pod that was there already, in an earlier life perhaps, is one with that."""
        pods = self._ended.setdefault(profile, {})
        _fold(pods, ended)
        while len(pods) > MOST_ENDED + 1:
            oldest = next(name for name in pods if name != OTHERS)
            _fold(pods, replace(pods.pop(oldest), pod=OTHERS))

    def recount(self, profile: str) -> None:
        """The profile says something else from now on: which pods ended stays known, what they met is counted anew."""
        for name, ended in self._ended.get(profile, {}).items():
            self._ended[profile][name] = replace(ended, effect=Effect())

    def forget(self, profile: str) -> None:
        """The profile is gone."""
        self._ended.pop(profile, None)


def _fold(pods: dict[str, Ended], ended: Ended) -> None:
    """Sum up what is known of one name."""
    before = pods.get(ended.pod)
    if before is not None:
        ended = Ended(ended.pod, before.effect + ended.effect, before.known and ended.known)
    pods[ended.pod] = ended
