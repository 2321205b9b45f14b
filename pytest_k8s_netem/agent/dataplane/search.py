"""Membership in ranges of integers of any number of 32-bit words, as classic BPF: binary search, and maps of bits.

What a program costs a packet is above all its being called, so a set is to fit one. Where ranges lie close together,
as the addresses of a cluster's pods do, the 32 numbers that differ in their last five bits become one word: three
instructions for as many addresses.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_k8s_netem.agent.dataplane.assembler import (
    AND,
    JEQ,
    JGE,
    JGT,
    JSET,
    LD_IMMEDIATE,
    LD_MEMORY,
    SHIFT_RIGHT,
    SHIFT_RIGHT_X,
    STORE,
    TAX,
    TXA,
    Assembler,
    Label,
    refuse_above_limit,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_BUCKET = 32
"""Segments that are compared one after the other: a shorter list costs more inner nodes than it saves comparisons."""
_FRAME = 3
"""Instructions of a bucket besides its comparisons, at least."""
_WORD = 0xFFFFFFFF
_LOW = 5
"""Bits that number the bits of a word."""
_CROWD = 3
"""Ranges within one word that take more instructions one by one than as a map."""
_FEW = 64
"""Ranges that are few enough to be searched as they are."""
_MAP = 15
"""Word of scratch memory, the last, for a map of bits."""

Pairs = list[tuple[int, int]]


@dataclass(slots=True)
class _Segment:
    """Word values ``first``..``last`` that are in the set if the words below are in ``rest`` (None: whatever they are).

    With a ``rest`` it is a single value.
    """

    first: int
    last: int
    rest: Pairs | None = None


def search(
    program: Assembler, pairs: Sequence[tuple[int, int]], loads: Sequence[tuple[int, int]], hit: Label, miss: Label
) -> None:
    """Jump to ``hit`` if the number is in one of the inclusive, ascending ranges, else to ``miss``.

    :param loads: one instruction a word, most significant first, that brings it into the accumulator;
        none: it is one word and there already.
    :raises TooLarge: if that alone has more than :data:`~assembler.MAX_INSTRUCTIONS`, soon found.
    """
    if len(loads) == 1 and len(pairs) > _FEW:
        maps, pairs = _maps(pairs)
        refuse_above_limit(_least(len(maps) + len(pairs)))  # to write them all takes long
        if maps:
            others = Label()
            _search_maps(program, maps, loads[0], hit, others if pairs else miss)
            program.place(others)
            if not pairs:
                return
    if loads:
        program.emit(*loads[0])
    pending: list[tuple[Label, Pairs]] = []
    _split(program, _segments(pairs, 32 * max(len(loads) - 1, 0)), hit, miss, pending)
    for label, rest in pending:
        program.place(label)
        search(program, rest, loads[1:], hit, miss)


def _least(segments: int) -> int:
    """Instructions of a search among so many, at least: one each, and those around each bucket."""
    buckets = 1 << ((segments - 1) // _BUCKET).bit_length()
    return segments + _FRAME * buckets


def _maps(pairs: Sequence[tuple[int, int]]) -> tuple[dict[int, int], Pairs]:
    """Maps of bits by the numbers above them, for words in which many ranges lie; and the other ranges."""
    maps: dict[int, int] = {}
    others: Pairs = []
    within: Pairs = []

    def settle() -> None:
        if len(within) < _CROWD:
            others.extend(within)
        else:
            bits = ((2 << last - first) - 1 << (first & 31) for first, last in within)
            maps[within[0][0] >> _LOW] = sum(bits)
        within.clear()

    for first, last in pairs:
        if within and within[0][0] >> _LOW != first >> _LOW:
            settle()
        if first >> _LOW == last >> _LOW:
            within.append((first, last))
        else:
            settle()
            others.append((first, last))
    settle()
    return maps, others


def _search_maps(program: Assembler, maps: dict[int, int], load: tuple[int, int], hit: Label, miss: Label) -> None:
    """Find the map of a number, then its bit there; X is lost."""
    found = Label()
    program.emits(load, (TAX, 0), (SHIFT_RIGHT, _LOW))
    _split_maps(program, list(maps.items()), found, miss)
    program.place(found)
    program.emits((STORE, _MAP), (TXA, 0), (AND, 31), (TAX, 0), (LD_MEMORY, _MAP), (SHIFT_RIGHT_X, 0))
    program.jump(JSET, 1, hit, miss)


def _split_maps(program: Assembler, maps: list[tuple[int, int]], found: Label, miss: Label) -> None:
    """Halve until a bucket is left; go to ``found`` with the map in the accumulator."""
    if len(maps) > _BUCKET:
        middle = len(maps) // 2
        upper = Label()
        program.jump(JGE, maps[middle][0], taken=upper)
        _split_maps(program, maps[:middle], found, miss)
        program.place(upper)
        _split_maps(program, maps[middle:], found, miss)
        return
    places: dict[int, Label] = {}
    for number, bits in maps:
        program.jump(JEQ, number, taken=places.setdefault(bits, Label()))
    program.goto(miss)
    for bits, place in places.items():
        program.place(place)
        program.emit(LD_IMMEDIATE, bits)
        program.goto(found)


def _segments(pairs: Sequence[tuple[int, int]], below: int) -> list[_Segment]:
    """Cut ranges at the top word; ``below``: how many bits stand under it."""
    full = (1 << below) - 1
    segments: list[_Segment] = []
    for first, last in pairs:
        head, tail = first >> below, last >> below
        if head == tail and (first & full, last & full) != (0, full):
            _partial(segments, head, first & full, last & full)
            continue
        if first & full:
            _partial(segments, head, first & full, full)
            head += 1
        cut = last & full != full
        if head <= tail - cut:
            segments.append(_Segment(head, tail - cut))
        if cut:
            _partial(segments, tail, 0, last & full)
    return segments


def _partial(segments: list[_Segment], word: int, first: int, last: int) -> None:
    if segments and segments[-1].last == word and segments[-1].rest is not None:
        segments[-1].rest.append((first, last))
    else:
        segments.append(_Segment(word, word, [(first, last)]))


def _split(
    program: Assembler, segments: list[_Segment], hit: Label, miss: Label, pending: list[tuple[Label, Pairs]]
) -> None:
    """Halve until a bucket is left; segments with words below are put off to ``pending``."""
    if len(segments) <= _BUCKET:
        _bucket(program, segments, hit, miss, pending)
        return
    middle = len(segments) // 2
    upper = Label()
    program.jump(JGE, segments[middle].first, taken=upper)
    _split(program, segments[:middle], hit, miss, pending)
    program.place(upper)
    _split(program, segments[middle:], hit, miss, pending)


def _bucket(
    program: Assembler, segments: list[_Segment], hit: Label, miss: Label, pending: list[tuple[Label, Pairs]]
) -> None:
    """Compare one after the other; ``hit`` and ``miss`` may be far, so each is jumped to from one place only."""
    if len(segments) == 1 and segments[0].rest is not None:  # the usual case of IPv6: one prefix
        target = Label()
        pending.append((target, segments[0].rest))
        program.jump(JEQ, segments[0].first, target, miss)
        return
    near_hit, near_miss = Label(), Label()
    for segment in segments:
        target = near_hit
        if segment.rest is not None:
            target = Label()
            pending.append((target, segment.rest))
        _compare(program, segment, target, near_miss)
    program.place(near_miss)
    program.goto(miss)
    program.place(near_hit)
    program.goto(hit)


def _compare(program: Assembler, segment: _Segment, target: Label, miss: Label) -> None:
    """Jump to ``target`` if the word is in the segment, to ``miss`` if it is below it; else go on."""
    if segment.first == segment.last:
        program.jump(JEQ, segment.first, taken=target)
        return
    if segment.first:
        program.jump(JGE, segment.first, missed=miss)
    if segment.last < _WORD:
        program.jump(JGT, segment.last, missed=target)
    else:
        program.goto(target)
