"""The part of a program that reads one ether type's headers and asks the rules about them.

Headers are read once into scratch memory, with values that are in no range standing for fields that a frame does not
have. A load behind the end of a frame would end the program, so each load is guarded by the frame's length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pytest_k8s_netem.agent.dataplane.assembler import (
    ACCEPT,
    ADD,
    ADD_X,
    AND,
    JEQ,
    JGE,
    JGE_X,
    JGT,
    JSET,
    LD_BYTE,
    LD_BYTE_X,
    LD_HALF,
    LD_HALF_X,
    LD_IMMEDIATE,
    LD_LENGTH,
    LD_MEMORY,
    LD_WORD,
    LDX_IMMEDIATE,
    NETWORK,
    PROTOCOL,
    REJECT,
    RETURN,
    SHIFT_LEFT,
    STORE,
    SUB,
    TAX,
    TXA,
    Assembler,
    Label,
    Program,
)
from pytest_k8s_netem.agent.dataplane.search import search
from pytest_k8s_netem.model.match import ICMPV6, IPV4, IPV6, NEIGHBOUR_DISCOVERY, WITH_PORTS
from pytest_k8s_netem.model.packet import AUTHENTICATION, ETHERNET, EXTENSION_HEADERS, FRAGMENT, MAX_EXTENSION_HEADERS
from pytest_k8s_netem.model.plan import Direction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_k8s_netem.model.match import Match
    from pytest_k8s_netem.model.ranges import Ranges

    Rule = tuple[Match, bool]
    """A match, and whether a frame that it takes is accepted."""

ALL = 0x0003
"""ETH_P_ALL: frames of every ether type."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What stands before the network header in the frames of a device.

    :ivar network: the network header's offset, as a load names it. :ivar octets: how many bytes a frame has before it.
    """

    network: int
    octets: int

    @classmethod
    def of(cls, mac: str) -> Layout:
        """What the frames of a device with such an address, or none (""), look like."""
        return ETHERNET_FRAMES if len(mac) == len("00:00:00:00:00:00") else OTHER_FRAMES


ETHERNET_FRAMES = Layout(ETHERNET, ETHERNET)
"""Absolute offsets, the same at every hook and on packet sockets, are read by the program itself, not by a function
that it calls (convert_bpf_ld_abs of net/core/filter.c): a third of what a short program takes."""
OTHER_FRAMES = Layout(NETWORK, 0)
"""Of a tunnel, say: mostly there is nothing before the network header."""
_NEXT, _PROTOCOL, _REMOTE_PORT, _LOCAL_PORT, _DISCOVERY = range(5)
"""Words of scratch memory."""
_NO_PROTOCOL, _NO_PORT = 0x100, 0x10000
_HEADER = {IPV4: 20, IPV6: 40}


def compile_rules(
    rules: Sequence[Rule], ether_type: int, direction: Direction, layout: Layout = ETHERNET_FRAMES
) -> Program:
    """A program that gives the verdict of the first rule whose match takes the frame; of none: rejected.

    :raises TooLarge: if it has more than :data:`~assembler.MAX_INSTRUCTIONS`.
    """
    program, accept, reject = Assembler(), Label(), Label()

    def block(kind: int) -> None:
        reaching = [rule for rule in rules if reaches(rule[0], kind)]
        Block(program, reaching, kind, direction, layout=layout, ends=(accept, reject)).write()

    if ether_type == ALL:
        starts = {IPV4: Label(), IPV6: Label()}
        program.emit(LD_WORD, PROTOCOL)
        for family, start in starts.items():
            program.jump(JEQ, family, taken=start)
        block(ALL)
        for family, start in starts.items():
            program.place(start)
            block(family)
    else:
        block(ether_type)
    return finish(program, ether_type, accept, reject)


def finish(program: Assembler, ether_type: int, accept: Label, reject: Label) -> Program:
    """Write both ends and assemble."""
    for label, verdict in ((accept, ACCEPT), (reject, REJECT)):
        program.place(label)
        program.emit(RETURN, verdict)
    return Program(ether_type, program.assemble())


def reaches(match: Match, ether_type: int) -> bool:
    """Whether frames of that ether type can be in the match; of :data:`ALL`: frames that are not IP."""
    if match.empty:
        return False
    if ether_type in _HEADER:
        return match.reaches(4 if ether_type == IPV4 else 6)
    return bare(match) and (ether_type == ALL or match.ether_types is None or ether_type in match.ether_types)


def bare(match: Match) -> bool:
    """Whether it asks for nothing that stands behind the ether type."""
    return match.remote is None and match.protocols is None and match.remote_ports is None and match.local_ports is None


def asks_for_addresses(match: Match) -> bool:
    """Whether it asks for remote addresses, and for nothing else behind the ether type."""
    return match.remote is not None and bare(replace(match, remote=None))


class Block:
    """Writes the code for frames of one ether type; ``ends``: where accepted and rejected frames go."""

    def __init__(
        self,
        program: Assembler,
        rules: Sequence[Rule],
        ether_type: int,
        direction: Direction,
        *,
        layout: Layout,
        ends: tuple[Label, Label],
    ) -> None:
        self.program = program
        self.rules = rules
        self.ether_type = ether_type
        self.egress = direction is Direction.EGRESS
        self.network, self.octets = layout.network, layout.octets
        self.accept, self.reject = ends
        self.ask_label = Label()
        matches = [match for match, _verdict in rules]
        self._ports = any(match.remote_ports is not None or match.local_ports is not None for match in matches)
        self._discovery = ether_type == IPV6 and any(match.ether_types is not None for match in matches)
        self._protocol = self._ports or self._discovery or any(match.protocols is not None for match in matches)

    def write(self) -> None:
        """Read the headers as far as a rule asks for them, then ask the rules."""
        if self.ether_type in _HEADER:
            self._guard_header()
            if self._protocol:
                self._clear()
                (self._read_ipv4 if self.ether_type == IPV4 else self._read_ipv6)()
        self.program.place(self.ask_label)
        self._ask()

    def _guard_header(self) -> None:
        """A frame whose header is cut off has no field: only what asks for none takes it."""
        if all(bare(match) for match, _verdict in self.rules) and not self._discovery:
            return
        whole = Label()
        self.program.emit(LD_LENGTH)
        self.program.jump(JGE, self.octets + _HEADER[self.ether_type], taken=whole)
        verdict = next((verdict for match, verdict in self.rules if bare(match)), False)
        self.program.goto(self.accept if verdict else self.reject)
        self.program.place(whole)

    def _clear(self) -> None:
        for word, nothing in (
            (_PROTOCOL, _NO_PROTOCOL),
            (_REMOTE_PORT, _NO_PORT),
            (_LOCAL_PORT, _NO_PORT),
            (_DISCOVERY, 0),
        ):
            self.program.emits((LD_IMMEDIATE, nothing), (STORE, word))

    def _guard(self, octets: int) -> None:
        """Go on only if ``octets`` bytes behind the network header's offset X are in the frame."""
        self.program.emits((LD_LENGTH, 0), (SUB, self.octets + octets))
        self.program.jump(JGE_X, 0, missed=self.ask_label)

    def _read_ipv4(self) -> None:
        program = self.program
        program.emits((LD_BYTE, self.network + 9), (STORE, _PROTOCOL))
        if not self._ports:
            return
        self._require_ports()
        program.emit(LD_HALF, self.network + 6)
        program.jump(JSET, 0x1FFF, taken=self.ask_label)
        program.emits((LD_BYTE, self.network), (AND, 15), (SHIFT_LEFT, 2), (TAX, 0))
        self._read_ports()

    def _read_ipv6(self) -> None:
        program = self.program
        program.emits((LDX_IMMEDIATE, 40), (LD_BYTE, self.network + 6))
        found = Label()
        for _ in range(MAX_EXTENSION_HEADERS):
            self._skip_extension(found)
        program.place(found)
        program.emit(STORE, _PROTOCOL)
        if self._discovery:
            self._read_discovery()
        if self._ports:
            self._require_ports()
            self._read_ports()

    def _skip_extension(self, found: Label) -> None:
        """With the next header's number in A and its offset in X: step over it, or go to ``found``."""
        program = self.program
        following, extension, authentication, fragment = Label(), Label(), Label(), Label()
        program.jump(JEQ, FRAGMENT, taken=fragment)
        program.jump(JEQ, AUTHENTICATION, taken=authentication)
        for number in EXTENSION_HEADERS:
            program.jump(JEQ, number, taken=extension)
        program.goto(found)
        for label, add, shift in ((extension, 1, 3), (authentication, 2, 2)):
            program.place(label)
            self._next_header()
            program.emits((LD_BYTE_X, self.network + 1), (ADD, add), (SHIFT_LEFT, shift), (ADD_X, 0), (TAX, 0))
            program.emit(LD_MEMORY, _NEXT)
            program.goto(following)
        program.place(fragment)
        self._next_header()
        program.emit(LD_HALF_X, self.network + 2)
        first = Label()
        program.jump(JSET, 0xFFF8, missed=first)
        program.emits((LD_MEMORY, _NEXT), (STORE, _PROTOCOL))
        program.goto(self.ask_label)
        program.place(first)
        program.emits((TXA, 0), (ADD, 8), (TAX, 0), (LD_MEMORY, _NEXT))
        program.place(following)

    def _next_header(self) -> None:
        self._guard(8)
        self.program.emits((LD_BYTE_X, self.network), (STORE, _NEXT))

    def _read_discovery(self) -> None:
        """With the protocol in A: note whether this is neighbour discovery; the protocol is in A again after it."""
        program, other = self.program, Label()
        program.jump(JEQ, ICMPV6, missed=other)
        self._guard(1)
        program.emit(LD_BYTE_X, self.network)
        [(first, last)] = NEIGHBOUR_DISCOVERY
        program.jump(JGE, first, missed=self.ask_label)
        program.jump(JGT, last, taken=self.ask_label)
        program.emits((LD_IMMEDIATE, 1), (STORE, _DISCOVERY))
        program.goto(self.ask_label)
        program.place(other)

    def _require_ports(self) -> None:
        """With the protocol in A: go on only if it has ports."""
        have = Label()
        search(self.program, WITH_PORTS.pairs, [], have, self.ask_label)
        self.program.place(have)

    def _read_ports(self) -> None:
        """With the transport header's offset in X."""
        self._guard(4)
        words = (_LOCAL_PORT, _REMOTE_PORT) if self.egress else (_REMOTE_PORT, _LOCAL_PORT)
        for offset, word in zip((0, 2), words, strict=True):
            self.program.emits((LD_HALF_X, self.network + offset), (STORE, word))

    def _ask(self) -> None:
        for match, verdict in self.rules:
            following = Label()
            self._test(match, following)
            self.program.goto(self.accept if verdict else self.reject)
            self.program.place(following)
        self.program.goto(self.reject)

    def _test(self, match: Match, miss: Label) -> None:
        """Go on if the match takes the frame; cheap questions first."""
        if self.ether_type == ALL and match.ether_types is not None:
            self._in(match.ether_types, [(LD_WORD, PROTOCOL)], miss)
        if self.ether_type == IPV6 and match.ether_types is not None:
            self.program.emit(LD_MEMORY, _DISCOVERY)
            self.program.jump(JEQ, 1, taken=miss)
        for wanted, word in (
            (match.protocols, _PROTOCOL),
            (match.remote_ports, _REMOTE_PORT),
            (match.local_ports, _LOCAL_PORT),
        ):
            if wanted is not None:
                self._in(wanted, [(LD_MEMORY, word)], miss)
        if match.remote is not None:
            self._in(match.remote.family(4 if self.ether_type == IPV4 else 6), self._remote_loads(), miss)

    def _in(self, wanted: Ranges, loads: Sequence[tuple[int, int]], miss: Label) -> None:
        hit = Label()
        search(self.program, wanted.pairs, loads, hit, miss)
        self.program.place(hit)

    def _remote_loads(self) -> list[tuple[int, int]]:
        if self.ether_type == IPV4:
            return [(LD_WORD, self.network + (16 if self.egress else 12))]
        start = self.network + (24 if self.egress else 8)
        return [(LD_WORD, start + at) for at in range(0, 16, 4)]
