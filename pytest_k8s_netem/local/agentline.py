"""The node host's line to the agent that serves all its pods: targets and sessions go over as descriptors."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from itertools import count

from pytest_k8s_netem.local.fdstream import FdStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_k8s_netem.local.processes import Processes

Done = Callable[[], None]


class AgentLine:
    """Speaks the admin frames of :mod:`pytest_k8s_netem.model.frames`; without an agent it does nothing."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._numbers = count(1)
        self._waiting: dict[int, Done] = {}
        self.stream: FdStream | None = None

    def start(self, process: int, argv: Sequence[str], log: int, pods: Mapping[str, int], done: Done) -> None:
        """Start the agent, tell it of the pods there are; ``done`` is called when it has them all."""
        self.end()
        ours, theirs = socket.socketpair()
        theirs.set_inheritable(True)
        self._processes.program(process, [*argv, "--admin-fd", str(theirs.fileno())], log)
        theirs.close()
        self.stream = FdStream(ours)
        left = len(pods)

        def one_more() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                done()

        for name, fd in pods.items():
            self.add(name, fd, one_more)
        if not pods:
            done()

    def add(self, name: str, fd: int, done: Done) -> None:
        """Make a namespace a target; ``done`` is called when sessions can name it, at once without an agent."""
        if self.stream is None:
            done()
        else:
            number = next(self._numbers)
            self._waiting[number] = done
            self.stream.send({"id": number, "op": "target", "target": name}, [fd])

    def forget(self, name: str) -> None:
        """A target is gone."""
        if self.stream is not None:
            self.stream.send({"id": next(self._numbers), "op": "forget", "target": name})

    def session(self) -> int:
        """A new session with the agent, as descriptor of a connected socket.

        :raises ValueError: if no agent runs.
        """
        if self.stream is None:
            raise ValueError("no agent runs")
        ours, theirs = socket.socketpair()
        with theirs:
            self.stream.send({"id": next(self._numbers), "op": "session"}, [theirs.fileno()])
        return ours.detach()

    def listen(self) -> None:
        """Take answers; refusals go to the log. The agent's end is told by its exit."""
        if self.stream is None:
            return
        try:
            for frame, _ in self.stream.receive():
                if problems := frame.get("problems"):
                    sys.stderr.write(f"agent: {problems}\n")
                self._waiting.pop(frame.get("id") or 0, _nothing)()
        except EOFError:
            self.end()

    def end(self) -> None:
        """Let go of the line; the agent heals what it owned and ends. Nobody is left waiting."""
        if self.stream is not None:
            self.stream.close()
            self.stream = None
        waiting, self._waiting = self._waiting, {}
        for done in waiting.values():
            done()


def _nothing() -> None:
    """Nobody waits for this answer."""
