"""The status of a local pod, as its kubelet would write it. Pure but for the clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class ContainerState:
    """Where a container stands; ``state`` and ``last`` are Kubernetes' own objects."""

    name: str
    image: str
    state: dict[str, Any] = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last: dict[str, Any] = field(default_factory=dict)
    ready: bool = False
    restarts: int = 0
    finished: bool = False

    def running(self) -> None:
        """It started."""
        self.state = {"running": {"startedAt": now()}}

    def ended(self, status: int) -> None:
        """It ended with an exit status (-n after signal n)."""
        began = self.state.get("running", {}).get("startedAt", now())
        code = status if status >= 0 else 128 - status
        reason = "Completed" if code == 0 else "Error"
        record = {"exitCode": code, "reason": reason, "startedAt": began, "finishedAt": now()}
        self.state = {"terminated": record | ({"signal": -status} if status < 0 else {})}
        self.ready = False

    def waits(self, reason: str, message: str) -> None:
        """It will be started again."""
        if "terminated" in self.state:
            self.last = self.state
        self.state = {"waiting": {"reason": reason, "message": message}}
        self.ready = False

    def to_object(self) -> dict[str, Any]:
        """As entry of ``containerStatuses``."""
        return {
            "name": self.name,
            "image": self.image,
            "imageID": "",
            "containerID": f"netem://{self.name}-{self.restarts}",
            "ready": self.ready,
            "started": "running" in self.state,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last,
        }


def phase(containers: Sequence[ContainerState]) -> str:
    """Pending, Running, Succeeded or Failed."""
    if all(container.finished for container in containers):
        codes = [container.state.get("terminated", {}).get("exitCode", 1) for container in containers]
        return "Failed" if any(codes) else "Succeeded"
    began = any(container.restarts or "waiting" not in container.state for container in containers)
    return "Running" if began else "Pending"


def status(
    containers: Sequence[ContainerState],
    addresses: Sequence[str],
    hosts: Sequence[str],
    started: str,
    old: Mapping[str, Any],
) -> dict[str, Any]:
    """A pod's whole status; conditions keep the time of their last transition, a QoS class never changes."""
    said = phase(containers)
    ready = said == "Running" and all(container.ready for container in containers)
    truths = {
        "PodScheduled": True,
        "Initialized": True,
        "PodReadyToStartContainers": True,
        "ContainersReady": ready,
        "Ready": ready,
    }
    return {
        "phase": said,
        "podIP": addresses[0],
        "podIPs": [{"ip": address} for address in addresses],
        "hostIP": hosts[0],
        "hostIPs": [{"ip": address} for address in hosts],
        "startTime": started,
        "qosClass": old.get("qosClass", "BestEffort"),
        "conditions": [_condition(name, truth, old) for name, truth in truths.items()],
        "containerStatuses": [container.to_object() for container in containers],
    }


def _condition(name: str, truth: bool, old: Mapping[str, Any]) -> dict[str, Any]:
    said = str(truth)
    for entry in old.get("conditions") or ():
        if entry["type"] == name and entry["status"] == said:
            return dict(entry)
    reason = {} if truth or name not in ("Ready", "ContainersReady") else {"reason": "ContainersNotReady"}
    return {"type": name, "status": said, "lastTransitionTime": now(), **reason}
