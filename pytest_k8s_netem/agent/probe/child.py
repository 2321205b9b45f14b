"""The prober: a forked child that runs all checks of one probe beside each other and ends."""

from __future__ import annotations

import os
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_k8s_netem.agent.loop import Loop
    from pytest_k8s_netem.agent.probe.exchange import Exchange
    from pytest_k8s_netem.model.observed import CheckObserved
    from pytest_k8s_netem.model.plan import Check

    Results = Callable[[tuple[CheckObserved, ...] | None], None]

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h."""


class Prober:
    """A running probe; ``done`` gets its results, None if the child died or was cancelled."""

    def __init__(self, loop: Loop, namespace: int, checks: Sequence[Check], done: Results) -> None:
        self._loop = loop
        self._done = done
        self._output = bytearray()
        self._pipe, far = os.pipe()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _child(namespace, checks, far, parent)
        os.close(far)
        os.set_blocking(self._pipe, False)
        loop.watch(self._pipe, self._read)

    def cancel(self) -> None:
        """End the child now."""
        os.kill(self._pid, signal.SIGKILL)

    def _read(self, _events: int) -> None:
        try:
            data = os.read(self._pipe, 1 << 16)
        except BlockingIOError:
            return
        if data:
            self._output += data
            return
        self._loop.forget(self._pipe)
        os.close(self._pipe)
        os.waitpid(self._pid, 0)
        self._done(_results(bytes(self._output)))


def _results(output: bytes) -> tuple[CheckObserved, ...] | None:
    import json

    from pytest_k8s_netem.model.wire import OBSERVED

    try:
        checks: tuple[CheckObserved, ...] = OBSERVED.decode(json.loads(output)).checks
    except ValueError:
        return None
    return checks


def _child(namespace: int, checks: Sequence[Check], output: int, parent: int) -> None:
    """The child's whole life; it never returns."""
    from pytest_k8s_netem.agent.forked import alone
    from pytest_k8s_netem.agent.namespace import enter

    code = 1
    try:
        _die_with(parent)
        enter(namespace)
        alone(output)
        _write(output, run(checks))
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _die_with(parent: int) -> None:
    """Be killed when the agent ends, see PR_SET_PDEATHSIG(2const)."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)


def _write(output: int, results: tuple[CheckObserved, ...]) -> None:
    import json

    from pytest_k8s_netem.model.observed import Observed
    from pytest_k8s_netem.model.wire import OBSERVED

    data = json.dumps(OBSERVED.encode(Observed("", checks=results))).encode()
    while data:
        data = data[os.write(output, data) :]


def run(checks: Sequence[Check]) -> tuple[CheckObserved, ...]:
    """Run checks at the same time, in the calling thread's namespace."""
    from pytest_k8s_netem.agent.probe.exchange import Exchange

    start = time.monotonic_ns()
    exchanges = [Exchange(check, start) for check in checks]
    while wait_for := [exchange for exchange in exchanges if exchange.end > time.monotonic_ns() or exchange.due]:
        now = time.monotonic_ns()
        for exchange in wait_for:
            if exchange.due is not None and exchange.due <= now:
                exchange.send()
            exchange.receive()
        _sleep(wait_for)
    return tuple(exchange.result for exchange in exchanges)


def _sleep(exchanges: Sequence[Exchange]) -> None:
    """Until an answer is there, or a packet is due, or a check is over."""
    import select

    times = [at for exchange in exchanges for at in (exchange.due, exchange.end) if at is not None]
    seconds = max(min(times, default=0) - time.monotonic_ns(), 0) / 1e9
    select.select([exchange.sock for exchange in exchanges if exchange.sock], [], [], seconds)
