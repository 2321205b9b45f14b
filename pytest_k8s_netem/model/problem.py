"""A refusal, in the one form that marker, object, engine and node share."""

from __future__ import annotations

from pytest_k8s_netem.model.frozen import frozen


@frozen
class Problem:
    """One thing that is wrong, where it is, and what would be right.

    :ivar path: where: ``delay``, ``spec.egress[0].to[1].ipBlock.cidr``, ``--netem-engine``.
    :ivar value: what stood there, as the user wrote it; ``""`` when nothing did.
    :ivar why: what is wrong with it, in a sentence without a final stop.
    :ivar fix: what would be right, or what to do; ``""`` when nothing can be said.
    """

    path: str
    value: str
    why: str
    fix: str = ""

    def __str__(self) -> str:
        said = f"{self.path}={self.value}" if self.value else self.path
        text = f"{said}: {self.why}" if said else self.why
        return f"{text}; {self.fix}" if self.fix else text

    def under(self, prefix: str) -> Problem:
        """The same problem, seen from one level up."""
        if not self.path:
            return Problem(prefix, self.value, self.why, self.fix)
        joint = "" if self.path.startswith("[") else "."
        return Problem(f"{prefix}{joint}{self.path}", self.value, self.why, self.fix)

    def to_wire(self) -> dict[str, str]:
        """As JSON object of a frame."""
        return {"path": self.path, "value": self.value, "why": self.why, "fix": self.fix}

    @classmethod
    def from_wire(cls, data: dict[str, str]) -> Problem:
        """Read what :meth:`to_wire` made; missing fields are empty."""
        return cls(*(str(data.get(key, "")) for key in ("path", "value", "why", "fix")))
