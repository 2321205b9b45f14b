"""What ``netem observe`` prints: profiles, and below each its pods, as a table or as JSON."""

from __future__ import annotations

from pytest_k8s_netem.report.words import effect_words, profile_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from pytest_k8s_netem.run.snapshot import Observation, ProfileSeen

HEADER = ("PROFILE", "STATE", "PODS", "ENGINE", "IMPAIRMENT")
NOTHING = "nothing is impaired"


def table(observations: Sequence[Observation]) -> str:
    """For people."""
    return "\n\n".join("\n".join(_lines(one)) for one in observations)


def _lines(observation: Observation) -> Iterator[str]:
    yield observation.where
    if observation.problem:
        yield f"  {observation.problem}"
    elif not observation.profiles:
        yield f"  {NOTHING}"
    else:
        rows = [HEADER, *(_row(profile) for profile in observation.profiles)]
        widths = [max(len(row[at]) for row in rows) for at in range(len(HEADER) - 1)]
        lines = [
            "  " + "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]])
            for row in rows
        ]
        yield lines[0].rstrip()
        for line, profile in zip(lines[1:], observation.profiles, strict=True):
            yield line.rstrip()
            yield from (f"    {text}" for text in _details(profile))


def _row(profile: ProfileSeen) -> tuple[str, ...]:
    status = profile.object.get("status") or {}
    pods = status.get("pods") or {}
    counts = f"{pods.get('verified', 0)}/{pods.get('expected', 0)}"
    state = profile_state(status)[0]
    return (
        profile.object["metadata"]["name"],
        state,
        counts,
        status.get("engine") or "-",
        status.get("impairment") or "-",
    )


def _details(profile: ProfileSeen) -> Iterator[str]:
    """Why it is not verified; each pod, with what it did there; gaps and notes."""
    status = profile.object.get("status") or {}
    if why := profile_state(status)[1]:
        yield why
    told = {str(entry["pod"]): entry for entry in status.get("targets") or () if not entry.get("verified")}
    for pod, held in profile.held.items():
        reasons = held.problems or ((told[pod].get("message", ""),) if pod in told else ())
        yield f"pod/{pod}: {effect_words(held)}{''.join(f'; not verified: {reason}' for reason in reasons)}"
    for pod, entry in told.items():
        if pod not in profile.held:
            yield f"pod/{pod}: not verified: {entry.get('message', '')}"
    yield from (f"pod/{pod}: {gap}" for pod, gap in profile.gaps)
    yield from (f"note: {note}" for note in profile.notes)


def simple(observations: Iterable[Observation]) -> list[dict[str, Any]]:
    """For programs; JSON-simple."""
    return [
        {
            "where": one.where,
            "problem": one.problem,
            "profiles": [
                {
                    "name": profile.name,
                    "object": profile.object,
                    "pods": {
                        pod: {"engine": held.engine, "effect": dict(held.effect), "problems": held.problems, **held.raw}
                        for pod, held in profile.held.items()
                    },
                    "gaps": [{"pod": pod, "told": gap} for pod, gap in profile.gaps],
                    "notes": profile.notes,
                }
                for profile in one.profiles
            ],
        }
        for one in observations
    ]


def verified(observations: Iterable[Observation]) -> bool:
    """Whether everything could be asked, and is as its profile says."""
    return all(
        not one.problem
        and all(profile_state(profile.object.get("status") or {})[0] == "verified" for profile in one.profiles)
        for one in observations
    )
