"""What passes through an engine, against the bare path in the same run."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from figures import median, say
from namespaces import Two, two
from traffic import delay_error, small_packets, tcp

from pytest_k8s_netem.agent.dataplane.kernel import KernelEngine
from pytest_k8s_netem.model.impairment import MILLISECOND, Bernoulli, Impairment
from pytest_k8s_netem.model.plan import Direction

pytestmark = pytest.mark.needs("root")

ROUNDS = 5


def both(world: Two, stack: ExitStack, impairment: Impairment) -> None:
    for direction in Direction:
        stack.enter_context(world.impaired(impairment, direction=direction))


MODES = {
    "0 ms, superpackets whole": Impairment(delay=1),
    "20 ms each way, whole": Impairment(delay=20 * MILLISECOND),
    "0 ms, packets cut": Impairment(duplicate=Bernoulli(1e-9)),
    "20 ms each way, cut": Impairment(delay=20 * MILLISECOND, duplicate=Bernoulli(1e-9)),
}


def test_tcp_through_the_userspace_engine() -> None:
    """Bare and impaired by turns: the best of each, and the median of the ratios of neighbours."""
    with two() as world:
        say(f"{'TCP, Gbit/s of bare, ratio':34}{'1 stream':>20}{'4 streams':>20}{'1 from the pod':>20}")
        for name, impairment in MODES.items():
            cells = []
            for streams, from_pod in ((1, False), (4, False), (1, True)):
                bare, through = [], []
                for _ in range(ROUNDS):
                    bare.append(tcp(world, streams, from_pod))
                    with ExitStack() as stack:
                        both(world, stack, impairment)
                        through.append(tcp(world, streams, from_pod))
                ratio = median(a / b for a, b in zip(through, bare, strict=True))
                cells.append(f"{max(through):8.2f} of {max(bare):5.2f} {ratio:4.2f}")
            say(f"{name:34}{''.join(cells)}")


def test_small_packets_through_the_userspace_engine() -> None:
    """One direction impaired; where the packets went that did not arrive, as the engine itself says."""
    with two() as world:
        say(f"{'bare, as fast as can be':34}{small_packets(world)}")
        for name, impairment in MODES.items():
            for offered in (100_000, None):
                with world.impaired(impairment) as sink:
                    flood = small_packets(world, offered)
                    seen = sink.read()["stage"]
                what = "100 k/s offered" if offered else "as fast as can be"
                told = f"dropped {seen.dropped}, lost {seen.lost}, late {seen.lagged / max(seen.passed, 1):.2%}"
                say(f"{name:26}{what:>18}  {flood}  ({told}, p99 {(seen.late_p99 or 0) / 1e6:.1f} ms)")


def test_delay_error_of_the_userspace_engine() -> None:
    with two() as world:
        say("ms late (mean, p50, p99, max), bare:        ", *(f"{ms:.3f}" for ms in delay_error(world, 0)))
        for delay in (1, 20, 200):
            with world.impaired(Impairment(delay=delay * MILLISECOND)) as sink:
                late = delay_error(world, delay * MILLISECOND)
                own = (sink.read()["stage"].late_p99 or 0) / 1e6
                say(
                    f"ms late, {delay:3} ms asked:                ",
                    *(f"{ms:.3f}" for ms in late),
                    f"(worker {own:.3f})",
                )


@pytest.mark.needs("netem")
def test_delay_error_of_the_kernel_engine() -> None:
    with two() as world:
        world.engine = KernelEngine(world.netlink)
        say("ms late (mean, p50, p99, max), bare:        ", *(f"{ms:.3f}" for ms in delay_error(world, 0)))
        for delay in (1, 5, 20, 50, 100, 200):
            with world.impaired(Impairment(delay=delay * MILLISECOND)):
                late = delay_error(world, delay * MILLISECOND)
            say(f"ms late, {delay:3} ms asked:                ", *(f"{ms:.3f}" for ms in late))
