"""Matches compiled to classic BPF: the one compiler behind filters, socket selection and captures."""

from __future__ import annotations

from dataclasses import replace

from pytest_k8s_netem.agent.dataplane.assembler import JEQ, LD_WORD, MARK, MAX_INSTRUCTIONS, Assembler, Label, TooLarge
from pytest_k8s_netem.agent.dataplane.blocks import (
    ALL,
    ETHERNET_FRAMES,
    asks_for_addresses,
    compile_rules,
    finish,
    reaches,
)
from pytest_k8s_netem.agent.dataplane.flower import Networks
from pytest_k8s_netem.agent.dataplane.names import MARK as OUR_MARK
from pytest_k8s_netem.model.match import IPV4, IPV6
from pytest_k8s_netem.model.peers import PeerSet
from pytest_k8s_netem.model.ranges import Ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_k8s_netem.agent.dataplane.assembler import Program
    from pytest_k8s_netem.agent.dataplane.blocks import Layout
    from pytest_k8s_netem.model.match import Match
    from pytest_k8s_netem.model.plan import Class, Direction

_MOST_ETHER_TYPES = 8
"""A match that names more gets one program for all of them."""
_MANY = 1000
"""Ranges for which filters of their own are worth it; fewer fit a program, if they are all that is asked for."""


def compile_matches(matches: Sequence[Match], direction: Direction, layout: Layout = ETHERNET_FRAMES) -> list[Program]:
    """Programs that together take exactly the union of the matches; each is for one ether type."""
    return [program for kind in _ether_types(matches) for program in _fitting(matches, kind, direction, layout)]


def compile_parts(
    matches: Sequence[Match], direction: Direction, layout: Layout = ETHERNET_FRAMES
) -> list[Program | Networks]:
    """Likewise; many IPv4 addresses for which one program is too small stand as networks instead."""
    parts: list[Program | Networks] = []
    for ether_type in _ether_types(matches):
        try:
            parts.append(compile_rules([(match, True) for match in matches], ether_type, direction, layout))
        except TooLarge as error:
            apart, others = _apart(matches) if ether_type == IPV4 else (None, matches)
            if apart is None:
                parts += _several(matches, ether_type, direction, layout, error.instructions)
                continue
            parts.append(apart)
            if others:
                parts += _fitting(others, ether_type, direction, layout)
    return parts


def select(classes: Sequence[Class], number: int) -> Program:
    """A program for a packet socket: accepts the frames that class ``number`` is the first of the list to take.

    :raises TooLarge: if the classes up to that one do not fit a program.
    """
    rules = [(match, at == number) for at, entry in enumerate(classes[: number + 1]) for match in entry.matches]
    return compile_rules(rules, ALL, classes[number].direction)


def marked() -> Program:
    """Takes the frames that the user-space engine hands back (:data:`names.MARK`)."""
    program, accept, reject = Assembler(), Label(), Label()
    program.emit(LD_WORD, MARK)
    program.jump(JEQ, OUR_MARK, accept, reject)
    return finish(program, ALL, accept, reject)


def _ether_types(matches: Sequence[Match]) -> list[int]:
    """Ether types that need a program of their own; :data:`ALL` alone where one has to see every frame."""
    found: list[int] = []
    for match in (match for match in matches if not match.empty):
        if match.ether_types is None:
            return [ALL]
        if sum(last - first + 1 for first, last in match.ether_types) > _MOST_ETHER_TYPES:
            return [ALL]
        for first, last in match.ether_types:
            found += [number for number in range(first, last + 1) if reaches(match, number)]
    return list(dict.fromkeys(found))


def _apart(matches: Sequence[Match]) -> tuple[Networks | None, list[Match]]:
    """Networks for the matches that ask for IPv4 addresses alone, None if these are few; and the other matches."""
    reaching = [match for match in matches if reaches(match, IPV4)]
    others = [match for match in reaching if not asks_for_addresses(match)]
    pairs = [pair for match in reaching if match.remote and asks_for_addresses(match) for pair in match.remote.v4]
    addresses = Ranges.joined(pairs)
    return (Networks.of(addresses) if len(addresses) >= _MANY else None), others


def _fitting(matches: Sequence[Match], ether_type: int, direction: Direction, layout: Layout) -> Iterator[Program]:
    """One program if it fits, else as many as it takes."""
    try:
        yield compile_rules([(match, True) for match in matches], ether_type, direction, layout)
    except TooLarge as error:
        yield from _several(matches, ether_type, direction, layout, error.instructions)


def _several(
    matches: Sequence[Match], ether_type: int, direction: Direction, layout: Layout, instructions: int
) -> Iterator[Program]:
    """The programs that a program of at least so many instructions is parted into."""
    if len(matches) > 1:
        middle = len(matches) // 2
        parts = [matches[:middle], matches[middle:]]
    else:
        parts = [(part,) for part in _cut(matches[0], ether_type, instructions // MAX_INSTRUCTIONS + 1)]
    for part in parts:
        yield from _fitting(part, ether_type, direction, layout)


def _cut(match: Match, ether_type: int, parts: int) -> list[Match]:
    """The match cut at its longest set; only a set of many ranges makes a program long."""
    remote = match.remote or PeerSet()
    sets = {
        "v4": remote.v4 if ether_type != IPV6 else Ranges(),
        "v6": remote.v6 if ether_type != IPV4 else Ranges(),
        "remote_ports": match.remote_ports or Ranges(),
        "local_ports": match.local_ports or Ranges(),
    }
    name = max(sets, key=lambda key: len(sets[key]))
    pairs = sets[name].pairs
    size = -(-len(pairs) // max(parts, 2))
    slices = [Ranges(pairs[at : at + size]) for at in range(0, len(pairs), size)]
    if name == "v4":
        remotes = [PeerSet(part, Ranges() if at else remote.v6) for at, part in enumerate(slices)]
    elif name == "v6":
        remotes = [PeerSet(Ranges() if at else remote.v4, part) for at, part in enumerate(slices)]
    elif name == "remote_ports":
        return [replace(match, remote_ports=part) for part in slices]
    else:
        return [replace(match, local_ports=part) for part in slices]
    return [replace(match, remote=remote) for remote in remotes]
