"""A profile's status, from what rounds and targets know; pure but for the clock."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import suppress

from pytest_k8s_netem.controller import inheritance, nothing
from pytest_k8s_netem.controller.status import MOST_PODS, PODS_EXCLUDED, condition
from pytest_k8s_netem.controller.targets import TRIES
from pytest_k8s_netem.judge.verdict import READ_BACK
from pytest_k8s_netem.profile.describe import describe
from pytest_k8s_netem.resolve.select import left_out, pods_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.controller.evidence import GapBook
    from pytest_k8s_netem.controller.fleet import Fleet
    from pytest_k8s_netem.controller.profiles import ProfileState
    from pytest_k8s_netem.controller.rounds import Rounds
    from pytest_k8s_netem.judge.verdict import Verdict

SETTLE = 1.0
"""Seconds after which a profile that selects nothing is said to: pods made just before it may be seen just after."""

Words = tuple[bool | None, str, str]
"""Status, reason and message of a condition."""


class Renderer:
    """Renders statuses of profiles."""

    def __init__(self, rounds: Rounds, fleet: Fleet, gaps: GapBook) -> None:
        self._rounds = rounds
        self._fleet = fleet
        self._gaps = gaps

    def status(self, state: ProfileState) -> Object:
        """The whole status."""
        pods = sorted(self._rounds.of(state.name))
        expected = [pod for pod in pods if self._rounds.expected(pod)]
        holding = [pod for pod in expected if self._rounds.holds(pod)]
        unverified = {pod: why for pod in expected if (why := self._unverified(state.name, pod))}
        accepted = self._accepted(state)
        applied = self._applied(state, pods, expected, holding) if accepted[0] else (None, "NotAccepted", "")
        verified = self._verified(state, unverified) if applied[0] else (None, "NotApplied", "")
        words = {"Accepted": accepted, "Applied": applied, "Verified": verified}
        listed = [*unverified, *(pod for pod in expected if pod not in unverified)][:MOST_PODS]
        return {
            "observedGeneration": state.generation,
            "impairment": describe(state.effective) if state.effective is not None else "",
            "engine": ",".join(sorted({self._fleet.targets[pod].plan.engine for pod in holding})),
            "conditions": [condition(kind, said[0], state.generation, *said[1:]) for kind, said in words.items()],
            "pods": {
                "selected": len(pods),
                "expected": len(expected),
                "applied": len(holding),
                "verified": len(expected) - len(unverified),
            },
            "targets": [_listed(pod, unverified) for pod in listed],
            "spared": self.spared(state.name),
            "skewMicroseconds": round(state.skew * 1e6),
            **self._past(state),
        }

    def failed(self, state: ProfileState, failure: tuple[str, str]) -> Object:
        """The status of a profile that could not be looked at; ``failure``: see :func:`status.failure`."""
        words = {"Accepted": failure, "Applied": ("NotAccepted", ""), "Verified": ("NotApplied", "")}
        past: Object = {}
        with suppress(Exception):  # it may be just this that fails
            past = self._past(state)
        return {
            "observedGeneration": state.generation,
            "conditions": [condition(kind, None, state.generation, *said) for kind, said in words.items()],
            **past,
        }

    def _past(self, state: ProfileState) -> Object:
        """What a later controller is to find."""
        return inheritance.written(
            state.started,
            self._rounds.index.world.chosen.get(state.uid),
            self._gaps.of(state.name),
            None if state.ended else state.good,
        )

    def spared(self, name: str) -> list[str]:
        """What the profile leaves alone, over all its pods."""
        resolutions = (self._rounds.resolutions[pod] for pod in sorted(self._rounds.of(name) & self._resolved()))
        return list(dict.fromkeys(text for one in resolutions for text in one.spared.get(name, ())))

    def notes(self, name: str) -> list[str]:
        """What may surprise, over all its pods."""
        resolutions = (self._rounds.resolutions[pod] for pod in sorted(self._rounds.of(name) & self._resolved()))
        return list(dict.fromkeys(text for one in resolutions for text in one.notes.get(name, ())))

    def _resolved(self) -> frozenset[str]:
        return frozenset(self._rounds.resolutions)

    def _accepted(self, state: ProfileState) -> Words:
        if state.refusal is not None and state.refusal[0] == "Accepted":
            return (False, *state.refusal[1:])
        if text := self._left_out(state):
            return (True, PODS_EXCLUDED, text)
        return (True, "Accepted", "")

    def _left_out(self, state: ProfileState) -> str:
        """Pods that it selects and can never impair."""
        profile = state.effective
        found = left_out(self._rounds.index, profile.pods) if profile is not None else {}
        alike: defaultdict[str, list[str]] = defaultdict(list)
        for key, why in found.items():
            alike[why].append(f"pod/{key.partition('/')[2]}")
        return "; ".join(f"{nothing.some(pods)} cannot be impaired: {why}" for why, pods in alike.items())

    def _applied(self, state: ProfileState, pods: list[str], expected: list[str], holding: list[str]) -> Words:
        if (words := _set_aside(state)) is not None:
            return words
        if state.vain or not pods:
            return self._touches_nothing(state, len(pods))
        if not expected:
            return (None, "WaitingForPods", f"none of the {len(pods)} pods that it selects runs")
        if len(holding) < len(expected):
            missing = [pod for pod in expected if pod not in holding]
            troubles = [f"pod/{pod}: {self._fleet.troubles[pod]}" for pod in missing if pod in self._fleet.troubles]
            return (None, "Applying", "; ".join(troubles[:3]) or f"{len(missing)} of {len(expected)} pods to come")
        return self._met(state, holding)

    def _met(self, state: ProfileState, holding: list[str]) -> Words:
        """Plans are in force; whether the profile has a part in any."""
        if any(state.name in self._fleet.targets[pod].profiles for pod in holding):
            return (True, "Applied", "")
        return self._touches_nothing(state, len(holding))

    def _touches_nothing(self, state: ProfileState, pods: int) -> Words:
        """Its words select no pod, or no peer."""
        profile, index = state.declared or state.good, self._rounds.index
        if not self._rounds.of(state.name) and (text := self._left_out(state)):
            return _nothing(state, PODS_EXCLUDED, text)
        if profile is None or not pods_of(index, profile.pods):
            return _nothing(state, "NothingSelected", nothing.no_pod(profile, index) if profile is not None else "")
        return _nothing(state, "NothingMatched", nothing.no_peer(profile, index, pods))

    def _verified(self, state: ProfileState, unverified: dict[str, str]) -> Words:
        if not unverified:
            verdicts = (self._verdict(state.name, pod) for pod in self._rounds.of(state.name))
            proofs = {verdict.proof for verdict in verdicts if verdict is not None}
            return (True, "ReadBack" if proofs == {READ_BACK} else "Verified", "")
        pod, why = next(iter(unverified.items()))
        more = f" (and {len(unverified) - 1} more pods)" if len(unverified) > 1 else ""
        final = any(self._fleet.targets[one].tried >= TRIES for one in unverified if one in self._fleet.targets)
        return (False if final else None, "NotProven" if final else "Probing", f"pod/{pod}: {why}{more}")

    def _unverified(self, name: str, pod: str) -> str:
        """Why a pod is not verified for this profile; "" = it is."""
        target = self._fleet.targets.get(pod)
        if target is None or not self._rounds.holds(pod):
            return self._fleet.troubles.get(pod) or "not applied yet"
        if name not in target.profiles:
            return ""
        verdict = self._verdict(name, pod)
        if verdict is None:
            return target.trouble or "not probed yet"
        return "" if verdict.verified else "; ".join(map(str, verdict.problems))

    def _verdict(self, name: str, pod: str) -> Verdict | None:
        target = self._fleet.targets.get(pod)
        return target.verdicts.get(name) if target is not None else None


def _set_aside(state: ProfileState) -> Words | None:
    """What keeps it from being applied, whatever its pods do."""
    if state.refusal is not None:
        return (False, *state.refusal[1:])
    if state.unheld and state.good is not state.declared:
        return (None, "NotHeld", state.unheld)
    return (False, inheritance.ENDED, "its duration is over") if state.ended else None


def _nothing(state: ProfileState, reason: str, why: str) -> Words:
    """It has no effect: final only after a moment."""
    return (False, reason, why) if time.time() - state.seen > SETTLE else (None, "Pending", why)


def _listed(pod: str, unverified: Mapping[str, str]) -> Object:
    if pod in unverified:
        return {"pod": pod, "verified": False, "message": unverified[pod][:256]}
    return {"pod": pod, "verified": True}
