"""Which profile has to answer for a failure: the fresh ones, which are then taken back as a whole."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Set

from pytest_k8s_netem.controller.channel import ChannelClosed
from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.model.capabilities import ENGINE
from pytest_k8s_netem.resolve.beyond import beyond
from pytest_k8s_netem.resolve.index import Index
from pytest_k8s_netem.resolve.layout import TOO_MANY_OVERLAPS
from pytest_k8s_netem.resolve.select import profiles_by_pod
from pytest_k8s_netem.run.retry import backoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.controller.profiles import ProfileBook, ProfileState
    from pytest_k8s_netem.model.problem import Problem
    from pytest_k8s_netem.resolve.resolve import Resolution
    from pytest_k8s_netem.resolve.world import World

    _Why = tuple[tuple[Problem, ...], str]

MISSING_NEED = "EngineUnavailable"
"""Reason of Accepted=False: the kernel lacks something; other words would not help."""
NOT_ALLOWED = "NotAllowed"
"""Reason of Accepted=False: a namespace that is not to be touched, or a right that is missing."""
OWN_REASONS = {TOO_MANY_OVERLAPS: TOO_MANY_OVERLAPS, ENGINE: MISSING_NEED}
"""Reasons by the paths of problems that have one of their own; all others are CannotBePlanned, or Refused."""

RETRIED_AFTER, RETRIED_AT_LEAST = 60.0, 600.0
"""Seconds after which a profile is tried anew whose agents were out of reach, or gave no answer: at first, and at most,
for all others wait while agents are looked for."""

Failures = dict[str, ImpairmentError]
"""By pod, why it cannot hold its plan."""


class Refusals:
    """Takes profiles back that cannot be applied; all methods say whether that changed anything."""

    def __init__(self, book: ProfileBook) -> None:
        self._book = book

    def reconsider(self, world: World) -> None:
        """Let go of refusals whose cause is gone: a namespace may allow now what it did not, or a pod have left it."""
        refused = [state for state in self._book.states.values() if _beyond_its_view(state)]
        index = Index(world) if refused else None
        for state in refused:
            said = beyond(index, state.declared) if index is not None and state.declared is not None else ()
            state.refusal = ("Accepted", NOT_ALLOWED, "; ".join(said)) if said else None

    def beyond(self, world: World) -> bool:
        """Refuse fresh profiles that go beyond what this controller may see or touch."""
        fresh = [profile for name, profile in world.profiles.items() if self._fresh(name)]
        index = Index(world) if fresh else None
        texts = {profile.name: beyond(index, profile) for profile in fresh} if index is not None else {}
        found: dict[str, _Why] = {name: ((), "; ".join(several)) for name, several in texts.items() if several}
        return self._refuse(found, "Accepted", NOT_ALLOWED)

    def unplannable(self, resolutions: Mapping[str, Resolution], pods: Iterable[str]) -> bool:
        """Refuse profiles of which no plan can be made."""
        found: dict[str, _Why] = {}
        for pod in sorted(pods):
            for profile, problems in resolutions[pod].problems.items():
                found.setdefault(profile, (problems, f"pod/{pod}: " + "; ".join(map(str, problems))))
        return self._refuse(found, "Accepted", "CannotBePlanned")

    def blame(self, failures: Failures, index: Index, *, attaching: bool = False) -> bool:
        """Refuse the fresh profiles that failures name, or else all fresh ones there; a lost channel is nobody's.

        :param attaching: whether agents could not be reached; else they could not do what they were asked for.
        """
        found: dict[str, _Why] = {}
        lasting: set[str] = set()
        for pod, error in failures.items():
            if isinstance(error, ChannelClosed):
                continue
            fresh = {profile.name for profile in profiles_by_pod(index).get(pod, ()) if self._fresh(profile.name)}
            named = {name for name in fresh if any(_about(problem.path, name) for problem in error.problems)}
            for name in named or fresh:
                found.setdefault(name, (error.problems, f"pod/{pod}: {error}"))
                if error.problems and not attaching:  # of the same words an agent says the same
                    lasting.add(name)
        return self._refuse(found, "Applied", "Refused", passing=found.keys() - lasting)

    def _refuse(self, why: Mapping[str, _Why], condition: str, reason: str, passing: Set[str] = frozenset()) -> bool:
        states = [(self._book.states[name], *said) for name, said in why.items() if self._fresh(name)]
        for state, problems, text in states:
            if state.generation == state.published[0]:  # else it says something else by now, and is tried with that
                own = next((OWN_REASONS[one.path] for one in problems if one.path in OWN_REASONS), reason)
                state.refusal = (condition, own, text)
                state.tries += 1
                wait = backoff(state.tries, RETRIED_AFTER, RETRIED_AT_LEAST)
                state.retry = time.monotonic() + wait if state.name in passing else None
        return bool(states)

    def _fresh(self, name: str) -> bool:
        state = self._book.states.get(name)
        return state is not None and state.fresh


def _beyond_its_view(state: ProfileState) -> bool:
    return state.refusal is not None and state.refusal[1] == NOT_ALLOWED


def _about(path: str, profile: str) -> bool:
    """Whether a problem's path is about this profile."""
    return path == profile or path.startswith((f"{profile}.", f"{profile}/", f"{profile}:"))
