"""The time between a guest's start and its end: output is streamed, Ctrl-C passed on, silence judged."""

from __future__ import annotations

import os
import select
import selectors
import time

from pytest_k8s_netem.errors import ProviderError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from pytest_k8s_netem.guest.machine import Machine

POWER_OFF_TIMEOUT = 10.0
"""Seconds from the exit status to the end of the guest's processes; 0.1 on an idle machine."""
INTERRUPTED = 2
"""pytest's exit status after Ctrl-C."""
READER_GONE = 128 + 13
"""What a shell says of a program that wrote to a pipe without a reader (SIGPIPE)."""


class Limits:
    """The three ways in which a guest can take too long."""

    def __init__(self, boot: float, silence: float, total: float | None) -> None:
        self.boot, self.silence, self.total = boot, silence, total
        self.end = time.monotonic() + total if total is not None else float("inf")

    def wait(self, ready: bool) -> float:
        """Seconds that may pass now without a word."""
        return max(0.0, min(self.silence if ready else self.boot, self.end - time.monotonic()))

    def over(self) -> bool:
        """Whether the time for everything is up."""
        return time.monotonic() >= self.end

    def why(self, ready: bool) -> str:
        """What to say when they did."""
        if self.over():
            return f"the guest was ended after {self.total:g} s, the time it was given"
        if ready:
            return f"the guest hung: no sign of life for {self.silence:g} s; it was ended"
        return f"the guest did not start within {self.boot:g} s"


class Session:
    """One guest from its start to its end, seen from the thread that waits for it."""

    def __init__(
        self, machine: Machine, interrupts: socket.socket, outputs: dict[socket.socket, int], limits: Limits
    ) -> None:
        self.machine = machine
        self.interrupts = interrupts
        self.outputs = outputs
        self.limits = limits
        self.ready = False
        self.status: int | None = None
        self.fault = ""
        self.heard = b""
        self.interrupted = 0
        self.selector = selectors.DefaultSelector()
        for line in (machine.control, interrupts, *outputs):
            self.selector.register(line, selectors.EVENT_READ)

    def run(self) -> int:
        """Stream until the guest has said its exit status, which is returned, and is gone.

        :raises ProviderError: if it never says one, with the kernel's last words.
        """
        with self.selector:
            while self.status is None and not self.fault and self.machine.control in self.selector.get_map():
                self.step()
            if self.status is None or not self.machine.wait(POWER_OFF_TIMEOUT):
                self.machine.kill()
            self.drain()
        if self.status is None:
            raise ProviderError(self.reason())
        return self.status

    def reason(self) -> str:
        """Why there is no exit status, with the kernel's last words."""
        if self.fault and self.ready:
            return self.fault
        words = self.machine.console()
        return f"{self.fault or 'the guest died'}\nthe guest kernel's last words:\n{words}"

    def step(self) -> None:
        """Wait for a word, output, Ctrl-C or the end of patience; what is there is read before patience is judged."""
        ready = self.selector.select(self.limits.wait(self.ready))
        if not ready or self.limits.over():
            self.fault = self.limits.why(self.ready)
        for key, _ in ready:
            line = key.fileobj
            if line is self.interrupts:
                self.interrupt()
            elif line is self.machine.control:
                self.listen()
            else:
                self.copy(line)  # type: ignore[arg-type]

    def interrupt(self) -> None:
        """Ctrl-C: the first goes to the command, the second ends the guest."""
        self.interrupted += len(self.interrupts.recv(64))
        if self.interrupted == 1:
            self.machine.say("interrupt")
        else:
            self.machine.kill()
            self.status = INTERRUPTED

    def listen(self) -> None:
        """Take in the guest's words."""
        data = self.receive(self.machine.control)
        *words, self.heard = (self.heard + data).split(b"\n")
        for word in words:
            kind, _, rest = word.decode(errors="replace").partition(" ")
            if kind == "ready":
                self.ready = True
            elif kind == "exit":
                self.status = int(rest)
            elif kind == "fault":
                self.fault = f"the guest could not run the command: {rest}"

    def copy(self, line: socket.socket) -> bool:
        """Pass output on; whether there was any."""
        rest = memoryview(self.receive(line))
        some = bool(rest)
        try:
            while rest:
                rest = rest[_written(self.outputs[line], rest) :]
        except BrokenPipeError:
            self.machine.kill()
            self.status = READER_GONE
        return some

    def receive(self, line: socket.socket) -> bytes:
        """What has arrived; at the end of the stream nothing, and no more of this line."""
        try:
            data = line.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self.selector.unregister(line)
        return data

    def drain(self) -> None:
        """Pass on what was sent before the guest went."""
        for line in self.outputs:
            while line in self.selector.get_map() and self.copy(line):
                pass


def _written(descriptor: int, data: memoryview) -> int:
    """How many bytes were taken; one that others have set not to block is waited for."""
    while True:
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            select.select((), (descriptor,), ())
