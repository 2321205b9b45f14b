"""The writing of statuses: what was not taken is written again, as long as there is something to write."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pytest_k8s_netem.controller.status import StatusWriter, condition
from pytest_k8s_netem.errors import ApiError

STATUS = {"conditions": [condition("Applied", True, 1, "AllPods")]}


class _Api:
    """Refuses so many patches; keeps how many came."""

    def __init__(self, error: ApiError, refused: int) -> None:
        self.error, self.refused, self.asked = error, refused, 0
        self.taken = asyncio.Event()

    async def patch(self, *_arguments: object, **_named: object) -> dict[str, Any]:
        self.asked += 1
        if self.asked <= self.refused:
            raise self.error
        self.taken.set()
        return {}


@pytest.mark.parametrize("error", [ApiError(404, "NotFound"), ApiError(503, "ServiceUnavailable")], ids=str)
def test_what_is_refused_is_written_again(error: ApiError) -> None:
    """Not found: the definition may have been replaced this moment, and the old one have no status."""

    async def main() -> int:
        api = _Api(error, 2)
        writer = StatusWriter(api, lambda _name: STATUS, lambda _event: None)  # type: ignore[arg-type]
        writer.touch("slow")
        await asyncio.wait_for(api.taken.wait(), 10)
        await writer.stop()
        return api.asked

    assert asyncio.run(main()) == 3


def test_a_profile_that_is_gone_is_written_no_more() -> None:
    async def main() -> int:
        api = _Api(ApiError(404, "NotFound"), 9)
        writer = StatusWriter(api, lambda _name: None if api.asked else STATUS, lambda _event: None)  # type: ignore[arg-type]
        writer.touch("slow")
        while writer._touched:
            await asyncio.sleep(0)
        return api.asked

    assert asyncio.run(main()) == 1
