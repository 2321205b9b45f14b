"""The keeper: sessions on one side, targets on the other, and who may do what to them."""

from __future__ import annotations

from pytest_k8s_netem.agent.requests import OBJECT, Refused, identify, problem_of, read
from pytest_k8s_netem.agent.session import Ownership, Reply, Session
from pytest_k8s_netem.errors import ImpairmentError, NetemError
from pytest_k8s_netem.model.codec import WireError
from pytest_k8s_netem.model.frames import FrameError
from pytest_k8s_netem.model.frozen import frozen
from pytest_k8s_netem.model.greeting import CAPABILITIES, INTERFACE
from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pytest_k8s_netem.agent.ground import Ground
    from pytest_k8s_netem.agent.loop import Loop
    from pytest_k8s_netem.agent.session import Line
    from pytest_k8s_netem.agent.targets import Target
    from pytest_k8s_netem.model.capabilities import Capabilities
    from pytest_k8s_netem.model.observed import CheckObserved, Observed
    from pytest_k8s_netem.model.peers import PeerSet

NAME = "pytest-k8s-netem"
"""What a hello is answered by."""


@frozen
class Call:
    """One request on its way through the keeper."""

    session: Session
    fields: dict[str, Any]
    reply: Reply


class Keeper:
    """Takes frames, owns targets; see :mod:`pytest_k8s_netem.model.frames` for what each frame means.

    What a hello does not need is imported by who needs it, so that an agent is there, and idles, with half of it all.

    :ivar lingers: whether plans with a ttl outlive their owner's session until that ends.
    """

    def __init__(self, loop: Loop, capabilities: Callable[[], Capabilities], lingers: bool) -> None:
        self.targets: dict[str, Target] = {}
        self.sessions: list[Session] = []
        self.ownership = Ownership()
        self.lingers = lingers
        self._loop = loop
        self._probe = capabilities
        self._known: Capabilities | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What this kernel can do, found out once."""
        if self._known is None:
            self._known = self._probe()
        return self._known

    @property
    def busy(self) -> bool:
        """Whether anybody is here, or a plan in force."""
        return bool(self.sessions) or any(target.held for target in self.targets.values())

    # Targets

    def add(self, name: str, ground: Ground) -> Target:
        """Serve one more namespace; leftovers in it are removed first.

        :raises Refused: if there is a target of that name.
        :raises OSError: if the namespace cannot be cleared.
        """
        from pytest_k8s_netem.agent.targets import Target

        if name in self.targets:
            raise Refused(Problem("target", name, "there already", "forget it first"))
        target = self.targets[name] = Target(name, ground, self._loop, self.tell)
        self.tell({"event": "target", "target": name, "interfaces": _interfaces(target)})
        return target

    def forget(self, name: str, done: Callable[[], None]) -> None:
        """Heal a target, put its namespace back as it was, and serve it no more.

        :raises Refused: if there is none of that name.
        """
        target = self._target(name)
        del self.targets[name]
        self.tell({"event": "target", "target": name, "interfaces": []})
        target.leave(done)

    def leave(self, done: Callable[[], None], patience: int) -> None:
        """Forget all targets; ``done`` once all namespaces are as they were."""
        left = set(self.targets)

        def gone(name: str) -> None:
            left.discard(name)
            if not left:
                done()

        for name in list(left):
            self.targets.pop(name).leave(lambda name=name: gone(name), "session", patience)  # type: ignore[misc]
        if not left:
            done()

    # Sessions

    def open(self, line: Line) -> Session:
        """A new session; it must say hello first."""
        session = Session(line)
        self.sessions.append(session)
        return session

    def end(self, session: Session) -> None:
        """A session's stream has ended: what it owned is healed, now or when its lease ends."""
        if session.ended:
            return
        session.ended = True
        self.sessions.remove(session)
        if not self.ownership.leave(session):
            return
        for target in self.targets.values():
            target.abort()
            if not (self.lingers and target.leased):
                target.heal("session", lambda: None)

    def tell(self, event: dict[str, Any]) -> None:
        """Send an event to every session that said hello."""
        for session in list(self.sessions):
            if session.role:
                session.send(event)

    def receive(self, session: Session, frame: dict[str, Any] | FrameError) -> None:
        """Do what a frame asks; the answer may come later. Nothing that a frame holds can raise here."""
        if isinstance(frame, FrameError):
            Reply(session, None).refuse(Problem("", "", str(frame), "send one JSON object a line"))
            return
        reply = Reply(session, None)
        try:
            reply = Reply(session, identify(frame))
            request = read(frame)
            session.require(request.op)
            _OPS[request.op](self, Call(session, request.fields, reply))
        except Refused as refused:
            reply.refuse(*refused.problems)
        except NetemError as error:
            reply.refuse(*(error.problems or (Problem("", "", str(error)),)))
        except Exception as error:
            import traceback

            traceback.print_exc()
            reply.refuse(Problem("", "", f"the agent failed: {type(error).__name__}: {error}", "see the agent's log"))

    # Operations

    def _hello(self, call: Call) -> None:
        role, identity = call.fields["role"], call.fields.get("identity", "")
        if role not in ("owner", "guest"):
            raise Refused(Problem("role", role, "no such role", "say owner or guest"))
        if role == "owner":
            self._release()
            deposed = self.ownership.claim(call.session, identity, call.fields.get("epoch", 0))
            if deposed is not None:
                deposed.role = "deposed"
                deposed.send({"event": "deposed", "identity": identity, "epoch": self.ownership.epoch})
                deposed.close()
        call.session.role = role
        call.reply.ok(
            agent=NAME,
            capabilities=CAPABILITIES.encode(self.capabilities),
            targets={name: _interfaces(target) for name, target in self.targets.items()},
        )

    def _peers(self, call: Call) -> None:
        told: dict[str, PeerSet | None] = {}
        for digest, data in call.fields["sets"].items():
            told[digest] = None if data is None else _peer_set(digest, data, call.session.known)
        for digest, peers in told.items():
            if peers is None:
                call.session.known.pop(digest, None)
            else:
                call.session.known[digest] = peers
        call.reply.ok()

    def _prepare(self, call: Call) -> None:
        from pytest_k8s_netem.model.wire import plan_codec

        target = self._target(call.fields["target"])
        try:
            plan = plan_codec(call.session.known).decode(call.fields["plan"], "plan")
        except WireError as error:
            raise Refused(problem_of(error)) from None
        digest = plan.digest  # before a worker is forked: after it each page that is written has to be copied
        try:
            target.prepare(plan, self.capabilities)
        except ImpairmentError as error:
            _refuse_when_clear(target, call.reply, error)
        else:
            call.reply.ok(prepared=digest)

    def _commit(self, call: Call) -> None:
        target = self._target(call.fields["target"])
        try:
            last = target.commit(call.fields["digest"])
        except ImpairmentError as error:
            _refuse_when_clear(target, call.reply, error)
        else:
            call.reply.ok(observed=_encoded(target.observe()), **last)

    def _abort(self, call: Call) -> None:
        target = self._target(call.fields["target"])
        target.abort()
        target.when_clear(call.reply.ok)

    def _renew(self, call: Call) -> None:
        from pytest_k8s_netem.agent.validation import is_time

        ttl = call.fields["ttl"]
        if not is_time(ttl):
            raise Refused(Problem("ttl", str(ttl), "must be above 0 and at most a year, in seconds"))
        for target in self.targets.values():
            target.renew(ttl)
        call.reply.ok()

    def _heal(self, call: Call) -> None:
        target = self._target(call.fields["target"])
        target.heal("request", lambda: _answer(call.reply, lambda: _encoded(target.observe())))

    def _observe(self, call: Call) -> None:
        call.reply.ok(observed=_encoded(self._target(call.fields["target"]).observe()))

    def _probes(self, call: Call) -> None:
        from pytest_k8s_netem.agent.validation import check_problems

        target = self._target(call.fields["target"])
        asked = call.fields.get("checks")
        checks = asked if asked is not None else target.held.plan.checks if target.held else ()
        if found := tuple(check_problems(checks)):
            raise Refused(*found)

        def done(seen: tuple[CheckObserved, ...] | Problem) -> None:
            if isinstance(seen, Problem):
                call.reply.refuse(seen)
            else:
                _answer(call.reply, lambda: _encoded(target.proven(seen, keep=asked is None)))

        target.probes.ask(checks, call.session.role == "owner", done)

    def _target(self, name: str) -> Target:
        if name not in self.targets:
            known = ", ".join(sorted(self.targets)) or "none"
            raise Refused(Problem("target", name, "no such target", f"known: {known}"))
        return self.targets[name]

    def _release(self) -> None:
        """Let go of an owner who is not there and has nothing in force."""
        if not any(target.held for target in self.targets.values()):
            self.ownership.release()


_OPS: dict[str, Callable[[Keeper, Call], None]] = {
    "hello": Keeper._hello,
    "peers": Keeper._peers,
    "prepare": Keeper._prepare,
    "commit": Keeper._commit,
    "abort": Keeper._abort,
    "renew": Keeper._renew,
    "heal": Keeper._heal,
    "probe": Keeper._probes,
    "observe": Keeper._observe,
}


def _refuse_when_clear(target: Target, reply: Reply, error: ImpairmentError) -> None:
    """Tell a refusal when nothing of what was built is left: whoever hears it finds the namespace as it was."""
    problems = error.problems  # the error itself is gone when it is told
    target.when_clear(lambda: reply.refuse(*problems))


def _answer(reply: Reply, observed: Callable[[], dict[str, Any]]) -> None:
    """Answer later, when nobody is there any more to catch an error."""
    try:
        reply.ok(observed=observed())
    except OSError as error:
        reply.refuse(Problem("", "", f"the namespace cannot be read: {error}"))


def _encoded(observed: Observed) -> Any:
    from pytest_k8s_netem.model.wire import OBSERVED

    return OBSERVED.encode(observed)


def _peer_set(digest: str, data: Any, known: dict[str, PeerSet]) -> PeerSet:
    """One entry of a ``peers`` frame: a set, or what turns a known one into it."""
    from pytest_k8s_netem.model.peers import PeerSet

    path = f"sets.{digest}"
    try:
        data = OBJECT.decode(data, path)
        if "base" in data and data["base"] not in known:
            raise Refused(Problem(f"{path}.base", str(data["base"]), "no such peer set", "send the whole set"))
        peers = known[data["base"]].patched(data) if "base" in data else PeerSet.from_wire(data)
    except WireError as error:
        raise Refused(problem_of(error)) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Refused(Problem(path, "", f"not a peer set: {error}")) from None
    if peers.digest != digest:
        raise Refused(Problem(path, peers.digest, "is the digest of what was sent", "send the whole set"))
    return peers


def _interfaces(target: Target) -> list[Any]:
    return [INTERFACE.encode(interface) for interface in target.ground.interfaces()]
