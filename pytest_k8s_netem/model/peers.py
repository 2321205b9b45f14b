"""Sets of IP addresses, named by digest so that a plan can refer to ten thousand peers in sixteen characters."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from pytest_k8s_netem.model.ranges import Ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ALL_V4 = Ranges(((0, 2**32 - 1),))
ALL_V6 = Ranges(((0, 2**128 - 1),))


@dataclass(frozen=True)
class PeerSet:
    """IPv4 and IPv6 addresses, as integers.

    A family that is empty matches no packet of that family.
    """

    v4: Ranges = Ranges()
    v6: Ranges = Ranges()

    @classmethod
    def from_networks(cls, networks: list[tuple[int, int, int]]) -> PeerSet:
        """From (family 4 or 6, address, prefix length); host bits are ignored."""
        pairs: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        for family, address, length in networks:
            span = 1 << ((32 if family == 4 else 128) - length)
            first = address // span * span
            pairs[family].append((first, first + span - 1))
        return cls(Ranges.joined(pairs[4]), Ranges.joined(pairs[6]))

    def family(self, family: int) -> Ranges:
        """The addresses of family 4 or 6."""
        return self.v4 if family == 4 else self.v6

    def __bool__(self) -> bool:
        return bool(self.v4 or self.v6)

    def __and__(self, other: PeerSet) -> PeerSet:
        return PeerSet(self.v4 & other.v4, self.v6 & other.v6)

    def __or__(self, other: PeerSet) -> PeerSet:
        return PeerSet(self.v4 | other.v4, self.v6 | other.v6)

    def __sub__(self, other: PeerSet) -> PeerSet:
        return PeerSet(self.v4 - other.v4, self.v6 - other.v6)

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits that name this set."""
        text = repr((self.v4.pairs, self.v6.pairs))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_wire(self) -> dict[str, list[str]]:
        """As JSON: ranges ``first-last`` in hexadecimal (JSON numbers end at 2^53, IPv6 does not)."""
        return {key: [f"{a:x}-{b:x}" for a, b in ranges] for key, ranges in (("v4", self.v4), ("v6", self.v6))}

    @classmethod
    def from_wire(cls, data: dict[str, Any]) -> PeerSet:
        """Read what :meth:`to_wire` made.

        :raises ValueError: for anything else, and for addresses outside their family.
        """
        return cls(_ranges(data.get("v4", []), ALL_V4), _ranges(data.get("v6", []), ALL_V6))

    def delta(self, base: PeerSet) -> dict[str, Any]:
        """What turns ``base`` into this set, as JSON for a ``peers`` frame."""
        return {"base": base.digest, "add": (self - base).to_wire(), "remove": (base - self).to_wire()}

    def patched(self, delta: dict[str, Any]) -> PeerSet:
        """Apply what :meth:`delta` made."""
        return (self - PeerSet.from_wire(delta["remove"])) | PeerSet.from_wire(delta["add"])


def _ranges(texts: Any, universe: Ranges) -> Ranges:
    if not isinstance(texts, list):
        raise ValueError(f"not a list of ranges: {texts!r}")
    pairs = []
    for text in texts:
        first, _, last = str(text).partition("-")
        pairs.append((int(first, 16), int(last, 16)))
    ranges = Ranges.joined(pairs)
    if ranges - universe:
        raise ValueError("an address is outside its family")
    return ranges
