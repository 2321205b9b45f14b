"""Whether a container's machine answers it: then a probe may go there, as the test's own connections do."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from pytest_k8s_netem.errors import ImpairmentError
from pytest_k8s_netem.model.codec import WireError, many
from pytest_k8s_netem.model.greeting import INTERFACE
from pytest_k8s_netem.model.impairment import MILLISECOND
from pytest_k8s_netem.model.plan import Check
from pytest_k8s_netem.model.wire import CHECK, OBSERVED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.controller.channel import Channel
    from pytest_k8s_netem.docker.inspection import Container
    from pytest_k8s_netem.model.capabilities import Interface

PATIENCE = 300 * MILLISECOND
"""ns for an echo from the machine's end of a bridge, which takes 0.1 ms; a firewall may forbid it altogether."""


async def answering(channel: Channel, target: str, container: Container) -> tuple[str, ...]:
    """Those of the machine's addresses on the container's main network that answer an echo; () if it cannot be tried.

    :param channel: a guest's, before its hello.
    """
    with suppress(ImpairmentError, WireError):
        hello = await channel.request("hello", role="guest")
        interfaces = many(INTERFACE).decode(hello["targets"].get(target) or [])
        asked = [
            Check(address, "", "", "icmp", address, count=2, interval=MILLISECOND, timeout=PATIENCE)
            for address in _gateways(container, interfaces)
        ]
        answer: dict[str, Any] = await channel.request("probe", target=target, checks=many(CHECK).encode(asked))
        seen = OBSERVED.decode(answer["observed"]).checks
        return tuple(check.id for check in seen if check.answered)
    return ()


def _gateways(container: Container, interfaces: tuple[Interface, ...]) -> list[str]:
    """Of the network that the default route leads to."""
    main = {address for one in interfaces if one.default for address in one.addresses}
    return [gateway for network in container.networks if main & set(network.addresses) for gateway in network.gateways]
