"""What a controller may see of a cluster, and touch there."""

from __future__ import annotations

from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM = frozenset({"kube-system", "kube-public", "kube-node-lease"})
"""Namespaces that no wildcard allows: only their very name does."""
ANY = "*"


@dataclass(frozen=True, slots=True)
class View:
    """All of a cluster, unless something is said.

    :ivar namespaces: whose pods are seen; None = all.
    :ivar lacking: by table of the world that cannot be read, the right that this would take.
    :ivar allowed: namespaces whose pods may be impaired, :data:`ANY` = all but :data:`SYSTEM`; None = all.
    :ivar made: namespaces of this run's own; they need no permission.
    :ivar injects: whether agents come into pods as containers, which Pod Security may forbid.
    :ivar system: namespaces that are no user's; no wildcard means them.
    :ivar opted_in: labels by which namespaces let their pods be impaired; in others they are left alone. {} = all do.
    """

    namespaces: frozenset[str] | None = None
    lacking: Mapping[str, str] = field(default_factory=dict)
    allowed: frozenset[str] | None = None
    made: frozenset[str] = frozenset()
    injects: bool = False
    system: frozenset[str] = SYSTEM
    opted_in: Mapping[str, str] = field(default_factory=dict)

    def sees(self, namespace: str) -> bool:
        """Whether pods of that namespace are seen."""
        return self.namespaces is None or namespace in self.namespaces

    def allows(self, namespace: str) -> bool:
        """Whether pods of that namespace may be impaired."""
        if self.allowed is None or namespace in self.allowed or namespace in self.made:
            return True
        return ANY in self.allowed and namespace not in self.system

    def spares(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether pods of a namespace with these labels are left alone, since nobody has opted in."""
        if not self.opted_in:
            return False
        return namespace in self.system or any(labels.get(key) != value for key, value in self.opted_in.items())
