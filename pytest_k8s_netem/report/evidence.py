"""What a person needs first of a failed test's evidence: a few lines, what is wrong at the top."""

from __future__ import annotations

import re
import time

from pytest_k8s_netem.report import artifacts
from pytest_k8s_netem.report.words import counted, effect_words, profile_state
from pytest_k8s_netem.resolve.objects import CONTAINERS
from pytest_k8s_netem.run import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from pytest_k8s_netem.run.snapshot import PodSeen, Snapshot

TITLE = "netem evidence"
"""Of the section; behind it the phase that failed."""
MOST_PODS = 6
"""Pods that are told of one by one; those that are not well are always among them."""
LOG_LINES = 5
"""Last lines of a log that are shown, of a pod that is not well twice as many."""
MOST_EVENTS = 5
MOST_HAPPENED = 8
MOST_MISSING = 3
WIDTH = 200
"""Characters of a line that are shown."""
AGENT = "netem-agent"
"""How the names of our own containers begin."""
ROUTINE = (events.Committed, events.SegmentBegan, events.ConditionChanged)
"""Events that tell of nothing amiss."""
WORDS: dict[type[events.Event], str] = {
    events.GapOpened: "pod/{0.pod} is not impaired any more: {cause}",
    events.GapClosed: "pod/{0.pod} is impaired again, or need not be, after {0.seconds:.1f} s",
    events.Healed: "pod/{0.pod} is healed: {cause}",
    events.PodEnded: "pod/{0.pod} ended under impairment",
    events.ChannelLost: "an agent is lost: {0.why}",
    events.Overloaded: "the worker of pod/{0.pod} is too slow for its packets",
    events.Trouble: "{0.where}: {0.message}",
}
"""Events as sentences."""


def told(snapshot: Snapshot, base: Path, nodeid: str, phase: str) -> tuple[str, str]:
    """Write the evidence below ``base``; (text of the report's section, directory of the files or "")."""
    summary = text(snapshot)
    try:
        folder = str(artifacts.write(snapshot, summary, base, nodeid, phase))
    except OSError as error:
        return f"{summary}\nnot written to a file: {error}", ""
    return f"{summary}\nall of it: {folder}", folder


def text(snapshot: Snapshot) -> str:
    """The few lines."""
    return "\n".join(_cut(line) for part in _parts(snapshot) for line in part)


def _parts(snapshot: Snapshot) -> Iterator[Iterable[str]]:
    if snapshot.lost:
        yield [snapshot.lost]
    yield _profiles(snapshot)
    yield _pods(snapshot)
    yield _warnings(snapshot)
    yield _happened(snapshot)
    yield (line for name, log in snapshot.logs.items() for line in _log(f"log of {name}", log, LOG_LINES))
    yield (f"not seen: {why}" for why in snapshot.missing[:MOST_MISSING])
    if more := snapshot.missing[MOST_MISSING:]:
        yield [f"not seen: {len(more)} more"]


def _profiles(snapshot: Snapshot) -> Iterator[str]:
    if not snapshot.profiles and not snapshot.lost:
        yield "no impairment was in force"
    for profile in snapshot.profiles:
        status = profile.object.get("status") or {}
        yield f"impairment {profile.name!r}: {status.get('impairment') or 'nothing yet'}: {_state(status)}"
        yield from (f"  {_name(pod, snapshot)}: {gap}" for pod, gap in profile.gaps)
        for pod, held in profile.held.items():
            yield f"  {_name(pod, snapshot)}: {effect_words(held)}{''.join(f'; {why}' for why in held.problems)}"
        yield from (f"  note: {note}" for note in profile.notes)


def _state(status: Mapping[str, Any]) -> str:
    state, why = profile_state(status)
    if why:
        return f"{state}: {why}"
    pods = status.get("pods") or {}
    proof = " by read-back" if status["conditions"][-1]["reason"] == "ReadBack" else ""
    return f"{state}{proof} on {pods.get('verified', 0)} of {counted(pods.get('expected', 0), 'pod')}"


def _pods(snapshot: Snapshot) -> Iterator[str]:
    told = [pod for pod in snapshot.pods if not _well(pod)]
    told += [pod for pod in snapshot.pods if _well(pod)][: max(0, MOST_PODS - len(told))]
    for pod in told:
        role = f" ({pod.role})" if pod.role else ""
        yield f"{_name(pod.key, snapshot)}{role}: {condition(pod)}"
        for name, log in pod.logs.items():
            if not name.startswith(AGENT):
                several = len(pod.logs) > 1
                yield from _log(f"  log of {name}" if several else "", log, LOG_LINES * (1 if _well(pod) else 2))
    if len(snapshot.pods) > len(told):
        yield f"and {counted(len(snapshot.pods) - len(told), 'pod')} more"


def _well(pod: PodSeen) -> bool:
    status = pod.object.get("status") or {}
    if status.get("phase") == "Succeeded":
        return True
    statuses = status.get("containerStatuses") or ()
    running = all("terminated" not in (entry.get("state") or {}) for entry in statuses)
    return bool(statuses) and running and all(_ready(entry) and not entry.get("restartCount") for entry in statuses)


def _ready(entry: Mapping[str, Any]) -> bool:
    """Whether a container is ready; one of Docker's has no such thing."""
    return bool(entry.get("ready", True))


def condition(pod: PodSeen) -> str:
    """A pod's phase, and each container that is not simply running."""
    status = pod.object.get("status") or {}
    where = (pod.object["spec"].get("nodeName"), status.get("podIP"))
    words = [", ".join([str(status.get("phase", "Pending")), *(text for text in where if text)])]
    if pod.object["metadata"].get("deletionTimestamp"):
        words.append("being deleted")
    for field in ("initContainerStatuses", "containerStatuses"):
        words += [told for entry in status.get(field) or () if (told := _container(entry))]
    words += [
        f"{one['type']}: {one['message']}"
        for one in status.get("conditions") or ()
        if one.get("reason") == "Unschedulable"
    ]
    return "; ".join(words)


def _container(entry: Mapping[str, Any]) -> str:
    """What is to be told of a container; "" = it runs, is ready, and has always been."""
    words = []
    for kind, detail in (entry.get("state") or {}).items():
        if kind == "waiting":
            words.append(f"waits: {detail.get('reason', '')} {detail.get('message', '')}".strip())
        elif kind == "terminated" and detail and not (detail.get("exitCode") == 0 and entry["name"].startswith(AGENT)):
            words.append(_ended(detail))
        elif kind == "running" and not _ready(entry):
            words.append("runs, not ready")
    if entry.get("restartCount"):
        last = (entry.get("lastState") or {}).get("terminated")
        words.append(
            f"restarted {counted(entry['restartCount'], 'time')}" + (f", {_ended(last)} before" if last else "")
        )
    return f"{entry['name']} {', '.join(words)}" if words else ""


def _ended(detail: Mapping[str, Any]) -> str:
    reason = detail.get("reason", "")
    return f"ended with {detail.get('exitCode')}" + (f" ({reason})" if reason not in ("", "Error", "Completed") else "")


def _warnings(snapshot: Snapshot) -> Iterator[str]:
    found = [event for event in snapshot.events if event.get("type") == "Warning" and _tells(event)]
    for event in found[-MOST_EVENTS:]:
        about = event.get("involvedObject") or event.get("regarding") or {}
        what = f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"
        times = f" ({event['count']} times)" if int(event.get("count") or 1) > 1 else ""
        yield f"event of {what}: {event.get('reason')}: {str(event.get('message') or event.get('note')).strip()}{times}"


def _tells(event: Mapping[str, Any]) -> bool:
    """Whether a warning is about what the test has made: not about nodes, nor about our agents' start."""
    about = event.get("involvedObject") or event.get("regarding") or {}
    return about.get("kind") != "Node" and AGENT not in str(about.get("fieldPath", ""))


def _happened(snapshot: Snapshot) -> Iterator[str]:
    told = [event for event in snapshot.happened if not isinstance(event, ROUTINE) and _amiss(event)]
    if len(told) > MOST_HAPPENED:
        yield f"{len(told) - MOST_HAPPENED} earlier events left out"
    for event in told[-MOST_HAPPENED:]:
        yield f"{_clock(event.at)}, {event.at - snapshot.began:.2f} s after the test began: {words(event)}"


def _amiss(event: events.Event) -> bool:
    return not (isinstance(event, events.Healed) and event.cause == "request")


def words(event: events.Event) -> str:
    """An event as a sentence."""
    if type(event) not in WORDS:
        return events.dumps(event)
    cause = str(getattr(event, "cause", ""))
    return WORDS[type(event)].format(event, cause=events.CAUSES.get(cause, cause))


def _log(title: str, log: str, most: int) -> Iterator[str]:
    lines = [line for line in log.splitlines() if line.strip()]
    if title and lines:
        yield title
    yield from (f"  | {line}" for line in lines[-most:])


def _name(key: str, snapshot: Snapshot) -> str:
    """Without its namespace where all pods are of one; a container of Docker's as users name it."""
    namespaces = {pod.key.partition("/")[0] for pod in snapshot.pods} - {CONTAINERS}
    if key.startswith(f"{CONTAINERS}/"):
        return key
    return f"pod/{key if len(namespaces) > 1 else key.partition('/')[2]}"


def _cut(line: str) -> str:
    line = re.sub(r"[^\x20-\x7e\u00a0-\uffff]", "?", line.replace("\t", "    "))
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def _clock(at: float) -> str:
    """A unix time as local time of day, to the millisecond."""
    return f"{time.strftime('%H:%M:%S', time.localtime(at))}.{int(at % 1 * 1000):03d}"
