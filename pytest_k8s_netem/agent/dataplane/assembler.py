"""Classic BPF programs: instructions with labels, made into what the kernel takes (linux/filter.h)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# linux/bpf_common.h: class | size | mode, or class | operation | source
LD_WORD, LD_HALF, LD_BYTE = 0x20, 0x28, 0x30
LD_HALF_X, LD_BYTE_X = 0x48, 0x50
LD_IMMEDIATE, LD_LENGTH, LD_MEMORY, LDX_IMMEDIATE, STORE = 0x00, 0x80, 0x60, 0x01, 0x02
ADD, SUB, ADD_X, AND, SHIFT_LEFT, TAX, TXA = 0x04, 0x14, 0x0C, 0x54, 0x64, 0x07, 0x87
SHIFT_RIGHT, SHIFT_RIGHT_X = 0x74, 0x7C
JUMP, JEQ, JGT, JGE, JSET, JGE_X, RETURN = 0x05, 0x15, 0x25, 0x35, 0x45, 0x3D, 0x06

NETWORK = 0xFFF00000
"""SKF_NET_OFF: offsets from here count from the network header, wherever a frame begins."""
PROTOCOL, MARK = 0xFFFFF000, 0xFFFFF014
"""SKF_AD_OFF + SKF_AD_PROTOCOL (the ether type), + SKF_AD_MARK."""
ACCEPT, REJECT = 0xFFFFFFFF, 0
MAX_INSTRUCTIONS = 3900
"""The kernel loads 4,096 (BPF_MAXINSNS), but cannot list a filter that does not fit one dump message."""
_FAR = 255
"""Most instructions a conditional jump skips."""
_OPERATION = struct.Struct("=HBBI")


@dataclass(frozen=True, slots=True)
class Program:
    """A program for frames of one ether type (``ETH_P_ALL``, 3: of all); it returns 0 or 0xffffffff.

    :ivar code: struct sock_filter, eight bytes each.
    """

    ether_type: int
    code: bytes

    def __len__(self) -> int:
        """How many instructions."""
        return len(self.code) // _OPERATION.size


class TooLarge(ValueError):
    """A program of more than :data:`MAX_INSTRUCTIONS`; ``instructions`` is a lower bound of how many."""

    def __init__(self, instructions: int) -> None:
        self.instructions = instructions
        super().__init__(f"a filter program of {instructions} instructions; {MAX_INSTRUCTIONS} fit")


class Label:
    """A place in a program; jumps go forward only."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class _Jump:
    """A conditional jump; a label that is None stands for the next instruction."""

    operation: int
    value: int
    taken: Label | None
    missed: Label | None


@dataclass(frozen=True, slots=True)
class _Goto:
    """An unconditional jump."""

    to: Label


class Assembler:
    """Collects a program; labels may be used before they are placed."""

    def __init__(self) -> None:
        self._items: list[tuple[int, int] | _Jump | _Goto | Label] = []

    def emit(self, operation: int, value: int = 0) -> None:
        """Add an instruction that does not jump."""
        self._items.append((operation, value))

    def emits(self, *instructions: tuple[int, int]) -> None:
        """Add several."""
        self._items += instructions

    def place(self, label: Label) -> None:
        """The next instruction is the label's."""
        self._items.append(label)

    def goto(self, label: Label) -> None:
        """Jump."""
        self._items.append(_Goto(label))

    def jump(self, operation: int, value: int, taken: Label | None = None, missed: Label | None = None) -> None:
        """Jump if the accumulator compares so; None = go on."""
        self._items.append(_Jump(operation, value, taken, missed))

    def assemble(self) -> bytes:
        """The program; conditional jumps that reach too far go by way of an unconditional one.

        :raises TooLarge: if it has more than :data:`MAX_INSTRUCTIONS`.
        :raises KeyError: if a label was never placed.
        """
        refuse_above_limit(sum(type(item) is not Label for item in self._items))
        far: set[int] = set()
        while True:
            places = self._places(far)
            found = {at for at, item in enumerate(self._items) if at not in far and _too_far(item, at, places)}
            if not found:
                refuse_above_limit(places[len(self._items) - 1])
                return b"".join(self._encode(far, places))
            far |= found

    def _places(self, far: set[int]) -> dict[Label | int, int]:
        """Address of each label, and of each item's end by its number."""
        places: dict[Label | int, int] = {}
        address = 0
        for at, item in enumerate(self._items):
            if isinstance(item, Label):
                places[item] = address
            else:
                address += 1
                if at in far and isinstance(item, _Jump):
                    address += (item.taken is not None) + (item.missed is not None)
            places[at] = address
        return places

    def _encode(self, far: set[int], places: dict[Label | int, int]) -> Iterable[bytes]:
        for at, item in enumerate(self._items):
            end = places[at]
            if isinstance(item, tuple):
                yield _OPERATION.pack(item[0], 0, 0, item[1])
            elif isinstance(item, _Goto):
                yield _OPERATION.pack(JUMP, 0, 0, places[item.to] - end)
            elif isinstance(item, _Jump):
                yield from _far(item, end, places) if at in far else [_near(item, end, places)]


def refuse_above_limit(instructions: int) -> None:
    """Let no program be written that does not fit.

    :raises TooLarge: if it has more than :data:`MAX_INSTRUCTIONS`.
    """
    if instructions > MAX_INSTRUCTIONS:
        raise TooLarge(instructions)


def _too_far(item: object, at: int, places: dict[Label | int, int]) -> bool:
    return isinstance(item, _Jump) and any(
        label is not None and places[label] - places[at] > _FAR for label in (item.taken, item.missed)
    )


def _near(item: _Jump, end: int, places: dict[Label | int, int]) -> bytes:
    skips = (0 if label is None else places[label] - end for label in (item.taken, item.missed))
    return _OPERATION.pack(item.operation, *skips, item.value)


def _far(item: _Jump, end: int, places: dict[Label | int, int]) -> Iterable[bytes]:
    """The conditional jump chooses among unconditional ones behind it: taken first, then missed."""
    skips = (1, 0) if item.taken is None else (0, 1)
    yield _OPERATION.pack(item.operation, *skips, item.value)
    labels = [label for label in (item.taken, item.missed) if label is not None]
    for left, label in zip(range(len(labels) - 1, -1, -1), labels, strict=True):
        yield _OPERATION.pack(JUMP, 0, 0, places[label] - end + left)
