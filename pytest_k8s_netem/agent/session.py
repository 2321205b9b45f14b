"""Who speaks to the keeper, and who may change anything."""

from __future__ import annotations

from pytest_k8s_netem.agent.requests import Refused
from pytest_k8s_netem.model.frames import GUEST_OPS, FrameError
from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from pytest_k8s_netem.model.peers import PeerSet

    class Line(Protocol):
        """Where a session's frames go."""

        def send(self, frame: dict[str, Any]) -> None:
            """Queue a frame."""

        def close(self) -> None:
            """End the line after what was sent."""


class Session:
    """One stream of frames.

    :ivar role: ``owner``, ``guest``; "" before its hello. :ivar known: peer sets it told, by digest.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self.role = ""
        self.identity = ""
        self.epoch = 0
        self.known: dict[str, PeerSet] = {}
        self.ended = False

    def require(self, op: str) -> None:
        """See that this session may do ``op``.

        :raises Refused: before its hello, and for what only an owner does.
        """
        if op == "hello":
            if self.role:
                raise Refused(Problem("op", op, f"this session is a {self.role} already", "open another session"))
        elif not self.role:
            raise Refused(Problem("op", op, "the first frame of a session is hello"))
        elif self.role != "owner" and op not in GUEST_OPS:
            raise Refused(Problem("op", op, "only the owner may do this", "say hello with role=owner"))

    def send(self, frame: dict[str, Any]) -> None:
        """Send a frame; one that is too large becomes a problem with the same id."""
        if self.ended:
            return
        try:
            self._line.send(frame)
        except FrameError as error:
            if "id" in frame:
                self._line.send({"id": frame["id"], "problems": [Problem("", "", str(error)).to_wire()]})

    def close(self) -> None:
        """End the session from this side."""
        self._line.close()


class Reply:
    """The one answer to a request, now or later."""

    def __init__(self, session: Session, request_id: Any) -> None:
        self._session = session
        self._id = request_id
        self.given = False

    def ok(self, **fields: Any) -> None:
        """Answer that it was done; a second answer is dropped."""
        self._give({"ok": fields})

    def refuse(self, *problems: Problem) -> None:
        """Answer that it was not done."""
        self._give({"problems": [problem.to_wire() for problem in problems]})

    def _give(self, answer: dict[str, Any]) -> None:
        if not self.given:
            self.given = True
            self._session.send({"id": self._id, **answer})


class Ownership:
    """Which identity may change anything, at which epoch, through which session."""

    def __init__(self) -> None:
        self.identity = ""
        self.epoch = 0
        self.session: Session | None = None

    def claim(self, session: Session, identity: str, epoch: int) -> Session | None:
        """Make ``session`` the owner; return the session it took over, if that still lives.

        :raises Refused: ``busy`` if another identity, or a later epoch of this one, owns what is in force.
        """
        if not identity:
            raise Refused(Problem("identity", "", "an owner says who it is", "give identity and epoch"))
        if self.identity and self.identity != identity:
            raise Refused(Problem("identity", "busy", f"owned by {self.identity!r}", "end that controller first"))
        if self.identity and epoch < self.epoch:
            raise Refused(Problem("epoch", "busy", f"owned by epoch {self.epoch} of {identity!r}, not by {epoch}"))
        deposed, self.session = self.session, session
        self.identity, self.epoch = identity, epoch
        session.identity, session.epoch = identity, epoch
        return deposed

    def leave(self, session: Session) -> bool:
        """Note that a session ended; whether it was the owner's."""
        if self.session is not session:
            return False
        self.session = None
        return True

    def release(self) -> None:
        """Nothing is in force and nobody is there: the next owner may be anybody."""
        if self.session is None:
            self.identity, self.epoch = "", 0
