"""What a pod's spec means for its processes: environment, arguments, user, probe. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Object = Mapping[str, Any]

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_BY_KEY = re.compile(r"^metadata\.(labels|annotations)\['([^']+)'\]$")
DEFAULT_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL where a pod's spec does not say: local programs end quickly or never."""


@dataclass(frozen=True, slots=True)
class Program:
    """How a container runs."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    uid: int | None
    gid: int | None


def program(pod: Object, container: Object, base: Mapping[str, str]) -> Program:
    """A container's program, its environment on top of ``base``; $(NAME) is replaced as Kubernetes does."""
    env = environment(pod, container, base)
    words = (*container.get("command", ()), *container.get("args", ()))
    user = {**(pod["spec"].get("securityContext") or {}), **(container.get("securityContext") or {})}
    return Program(
        name=container["name"],
        argv=tuple(expand(word, env) for word in words),
        env=env,
        cwd=container.get("workingDir", ""),
        uid=user.get("runAsUser"),
        gid=user.get("runAsGroup"),
    )


def environment(pod: Object, container: Object, base: Mapping[str, str]) -> dict[str, str]:
    """Variables of a container; an entry may refer to those before it."""
    env = {**base, "HOSTNAME": hostname(pod)}
    for entry in container.get("env") or ():
        reference = (entry.get("valueFrom") or {}).get("fieldRef")
        value = field(pod, reference["fieldPath"]) if reference else expand(entry.get("value") or "", env)
        env[entry["name"]] = value
    return env


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace $(NAME) by its value where it has one; $$ stands for $."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        return "$" if name is None else env.get(name, match.group(0))

    return _REFERENCE.sub(value, text)


def field(pod: Object, path: str) -> str:
    """The downward API's field of a pod; "" where it has none."""
    if by_key := _BY_KEY.match(path):
        return str((pod["metadata"].get(by_key.group(1)) or {}).get(by_key.group(2), ""))
    if path == "status.podIPs":
        return ",".join(entry["ip"] for entry in pod["status"].get("podIPs", ()))
    value: Any = pod
    for name in path.split("."):
        value = value.get(name, "") if hasattr(value, "get") else ""
    return str(value)


def hostname(pod: Object) -> str:
    """Name of the pod's machine, at most 63 bytes."""
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:63]


def port_number(container: Object, port: int | str) -> int:
    """A port given by number or by the name of one of the container's ports; 0 for a name that is none."""
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    named = [entry["containerPort"] for entry in container.get("ports") or () if entry.get("name") == port]
    return int(named[0]) if named else 0


def grace(pod: Object) -> float:
    """Seconds that a pod to be deleted has."""
    said = pod["spec"].get("terminationGracePeriodSeconds")
    at_most = pod["metadata"].get("deletionGracePeriodSeconds", DEFAULT_GRACE)
    return min(float(at_most), DEFAULT_GRACE if said is None else float(said))
