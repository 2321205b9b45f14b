"""The impairments of one test: declared, begun together, ended together, judged."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from pytest_k8s_netem.cluster import findings
from pytest_k8s_netem.cluster.chaos import Netem
from pytest_k8s_netem.cluster.handle import NetemProfile, NetemProfiles
from pytest_k8s_netem.cluster.imposition import Imposition, abandon_all, begin_all, end_all
from pytest_k8s_netem.cluster.spec import named_twice
from pytest_k8s_netem.errors import ClusterError, ConfigError, ProofError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_k8s_netem.cluster.attaching import Attached
    from pytest_k8s_netem.cluster.findings import Finding, Strictness
    from pytest_k8s_netem.cluster.record import Record
    from pytest_k8s_netem.cluster.session import Session
    from pytest_k8s_netem.cluster.spec import Spec, SpecReader


@dataclass(slots=True)
class _Declared:
    handle: NetemProfile
    imposition: Imposition
    begun: bool = False


def _when(part: _Declared) -> str:
    return part.handle.spec.face.get("when", "last")


class ImpairedTest:
    """What a test does to its network, and what became of it.

    :ivar profiles: the handles of what was declared. :ivar found: what was found wrong or remarkable so far.
    """

    def __init__(self, session: Session, nodeid: str, reader: SpecReader, strictness: Strictness) -> None:
        self._session, self._nodeid, self._reader, self._strictness = session, nodeid, reader, strictness
        self._declared: dict[str, _Declared] = {}
        self._attached: list[Attached] = []
        self._known: list[Imposition] = []
        self.profiles = NetemProfiles()
        self.found: list[Finding] = []

    def declare(self, specs: Sequence[Spec]) -> None:
        """Make handles; nothing is impaired yet.

        :raises ConfigError: with the problems of all specs.
        """
        errors = []
        for spec in specs:
            try:
                self._declare(spec)
            except ConfigError as error:
                errors.append(error)
        if errors:
            raise ConfigError("\n".join(str(error) for error in errors))

    def _declare(self, spec: Spec) -> None:
        if spec.name in self._declared:
            raise ConfigError(named_twice(spec.name))
        imposition = self.make(spec)
        handle = NetemProfile(self._session.portal, imposition, spec, self._reader, self._session.measuring)
        self._declared[spec.name] = _Declared(handle, imposition)
        self.profiles[spec.name] = handle

    def make(self, spec: Spec) -> Imposition:
        """The imposition of a spec, not begun.

        :raises ConfigError: if it cannot be meant.
        """
        made = Imposition(self._session.provider, spec.name, self._reader.read(spec), self._session.camera.before)
        self._known.append(made)
        return made

    def begin(self, when: str) -> None:
        """Impair what is declared for ``when`` (``first``, ``last``), all of it or nothing.

        :raises ClusterError: if the cluster is no more.
        :raises ProofError: if what was begun earlier has not held until now.
        """
        if why := self._session.provider.lost():
            raise ClusterError(why)
        earlier = [part.imposition for part in self._declared.values() if part.begun]
        due = [part for part in self._declared.values() if _when(part) == when]
        for part in due:
            part.begun = True
        if due:
            self._session.portal.call(begin_all([part.imposition for part in due]))
        lost = [text for imposition in earlier for text in self._lost(imposition)]
        if lost:
            raise ProofError("\n".join(lost))

    def _lost(self, imposition: Imposition) -> list[str]:
        gaps = self._session.portal.call(imposition.gaps())
        return [finding.text for finding in findings.lost(imposition.name, gaps)]

    def end(self, when: str) -> None:
        """Heal what was begun for ``when``, last begun first healed; judge what it did."""
        due = [part for part in self._declared.values() if part.begun and _when(part) == when]
        for part in due:
            part.begun = False
        if not due:
            return
        impositions = [part.imposition for part in due]
        concluded = partial(self._concluded, due)
        records = self._session.portal.call(end_all(impositions, concluded))
        for part, record in zip(due, records, strict=True):
            self._ended(record, part.handle.spec)

    async def end_block(self, imposition: Imposition, spec: Spec, error: BaseException | None) -> None:
        """Heal what a block has begun, and judge what it did; ``error``: what leaves the block."""
        try:
            await imposition.conclude()
            if error is not None or self._amiss(imposition.record, spec):
                await self._session.camera.before(error)
        finally:
            await imposition.heal()
        self._known.remove(imposition)
        self._ended(imposition.record, spec, failed=error is not None)

    async def _concluded(self, parts: Sequence[_Declared]) -> None:
        """All is read back and still in force: the last moment to look at what will fail the test."""
        if any(self._amiss(part.imposition.record, part.handle.spec) for part in parts):
            await self._session.camera.before(None)

    def _amiss(self, record: Record, spec: Spec) -> bool:
        """Whether an impairment that has been read back for the last time makes its test an error."""
        return any(finding.level == "error" for finding in self._judge(record, spec))

    def _judge(self, record: Record, spec: Spec) -> list[Finding]:
        return findings.judge(record, self._strictness.with_(spec.face))

    def _ended(self, record: Record, spec: Spec, failed: bool = False) -> None:
        found = self._judge(record, spec)
        self.found += [] if failed else found
        self._session.note(self._nodeid, record, found)

    def abandon(self) -> None:
        """Heal what neither fixture nor block has ended: who was interrupted while it began ends nothing.

        :raises TeardownError: if it cannot be healed.
        """
        if self._known:
            self._session.portal.call(abandon_all(self._known))

    def chaos(self) -> Netem:
        """The value of the fixture ``netem``."""
        return Netem(self._session, self._reader, self)

    def attach(self, container: object, as_: str) -> Attached:
        """A container for this test, see :meth:`Netem.attach`."""
        made = self._session.attach(container, as_, self._nodeid)
        self._attached.append(made)
        return made

    def detach(self) -> None:
        """Let go of the test's containers, the last first."""
        while self._attached:
            self._attached.pop().detach()
