"""What the fixture ``netem`` offers: impairments for the length of a block."""

from __future__ import annotations

import asyncio

from pytest_k8s_netem.cluster.handle import NetemProfile, unused_name
from pytest_k8s_netem.cluster.imposition import abandon_all
from pytest_k8s_netem.cluster.spec import FACE, Spec
from pytest_k8s_netem.profile import arguments as vocabulary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pytest_k8s_netem.cluster.attaching import Attached
    from pytest_k8s_netem.cluster.impaired import ImpairedTest
    from pytest_k8s_netem.cluster.imposition import Imposition
    from pytest_k8s_netem.cluster.session import Session
    from pytest_k8s_netem.cluster.spec import SpecReader

BLOCK_LEVEL, RUN_LEVEL = 100, 0
"""Order of blocks: behind every marker's level, those of no test before them; then by time of entry."""


class Block:
    """An impairment for the length of a ``with`` or ``async with`` block, whose value is its handle."""

    def __init__(self, chaos: Netem, spec: Spec) -> None:
        self._chaos, self._spec = chaos, spec
        self._begun: list[tuple[Imposition, NetemProfile]] = []

    def __enter__(self) -> NetemProfile:
        begun: list[Imposition] = []
        try:
            return self._chaos.portal.call(self._begin(begun))
        except BaseException:  # nobody may have waited for its end, and nobody leaves the block
            self._chaos.portal.call(abandon_all(begun))
            raise

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._chaos.portal.call(self._end(error))

    async def __aenter__(self) -> NetemProfile:
        begun: list[Imposition] = []
        try:
            return await asyncio.wrap_future(self._chaos.portal.submit(self._begin(begun)))
        except BaseException:
            await asyncio.wrap_future(self._chaos.portal.submit(abandon_all(begun)))
            raise

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await asyncio.wrap_future(self._chaos.portal.submit(self._end(error)))

    async def _begin(self, begun: list[Imposition]) -> NetemProfile:
        chaos = self._chaos
        imposition = chaos.test.make(self._spec)
        begun.append(imposition)
        await imposition.begin()
        handle = NetemProfile(chaos.portal, imposition, self._spec, chaos.reader, chaos.measuring)
        self._begun.append((imposition, handle))
        return handle

    async def _end(self, error: BaseException | None) -> None:
        while self._begun:
            imposition, handle = self._begun.pop()
            await self._chaos.test.end_block(imposition, handle.spec, error)


class Netem:
    """Impair the test's network for the length of a block.

    Blocks nest and add up: a packet that several take meets them in order of entry.
    """

    def __init__(self, session: Session, reader: SpecReader, test: ImpairedTest, level: int = BLOCK_LEVEL) -> None:
        self.portal, self.measuring, self.reader = session.portal, session.measuring, reader
        self.test, self._level = test, level
        self._names: dict[str, Spec] = {}

    def impair(self, *, name: str = "block", **arguments: Any) -> Block:
        """Impair for the length of a block; the arguments are the marker's."""
        return self._block(name, arguments)

    def partition(self, a: str | list[str], b: str | list[str], *, name: str = "partition", **options: Any) -> Block:
        """No packet passes between ``a`` and ``b``, in either direction, and nobody is told.

        The pods of ``a`` are those selected at the start and whatever replaces them; with ``follow="labels"``, also
        those that come later. ``b`` is live either way. If ``a`` cannot be pods, the two swap roles.

        :raises ConfigError: for an option that contradicts that.
        """
        how, what = _split(options)
        return self._block(name, {**vocabulary.partition(a, b, **what), **how})

    def blackhole(self, pods: str | list[str] | None = None, *, name: str = "blackhole", **options: Any) -> Block:
        """What the pods (default: all of the test's namespace) send and receive vanishes.

        ``to``, ``from_`` or ``direction`` say that only some of it does.

        :raises ConfigError: for an option that contradicts that.
        """
        how, what = _split(options)
        return self._block(name, {**vocabulary.blackhole(pods, **what), **how})

    def attach(self, container: object, as_: str = "") -> Attached:
        """Let a Docker container be impaired as ``container/NAME``, until the end of the test.

        It keeps its address and is not restarted; an agent joins its network. As a context manager it is detached at
        the block's end. Attach in a fixture what a marker names: markers are applied before the test's body::

            @pytest.fixture
            def redis(netem):
                with RedisContainer() as container:
                    netem.attach(container, as_="redis")
                    yield container


            @pytest.mark.netem(delay="100ms", pods="container/redis")
            def test_slow_redis(redis): ...

        :param container: started; of testcontainers or Docker's Python client, or a name or id that docker ps shows.
        :param as_: its name here; default: its own.
        :raises ConfigError: if it cannot be impaired: no such container, host network, two of the same name ...
        :raises ProviderError: if Docker cannot be used. :raises ImpairmentError: if it cannot be reached.
        """
        return self.test.attach(container, as_)

    def _block(self, name: str, arguments: dict[str, Any]) -> Block:
        own = unused_name(name, self._names)
        spec = Spec(own, arguments, (self._level, len(self._names)))
        self._names[own] = spec
        return Block(self, spec)


def _split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(how strictly it is taken, what becomes of packets)."""
    how = {key: value for key, value in options.items() if key in FACE}
    return how, {key: value for key, value in options.items() if key not in FACE}
