"""Binary search over ranges of integers of any number of 32-bit words, as classic BPF."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_k8s_netem.agent.dataplane.assembler import JEQ, JGE, JGT, Assembler, Label

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_BUCKET = 16
"""Segments that are compared one after the other: a shorter list costs more inner nodes than it saves comparisons."""
_WORD = 0xFFFFFFFF

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
    """
    if loads:
        program.emit(*loads[0])
    pending: list[tuple[Label, Pairs]] = []
    _split(program, _segments(pairs, 32 * max(len(loads) - 1, 0)), hit, miss, pending)
    for label, rest in pending:
        program.place(label)
        search(program, rest, loads[1:], hit, miss)


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
