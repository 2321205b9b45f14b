"""Several watches as one."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pytest_k8s_netem.api.protocol import Change


async def merged(*watches: AsyncGenerator[Change, None]) -> AsyncGenerator[Change, None]:
    """The changes of all, as they come, until one of them ends; of none: nothing, for ever."""
    changes: asyncio.Queue[Change | None] = asyncio.Queue()

    async def pump(watch: AsyncGenerator[Change, None]) -> None:
        try:
            async with aclosing(watch) as told:
                async for change in told:
                    changes.put_nowait(change)
        finally:
            changes.put_nowait(None)

    tasks = [asyncio.create_task(pump(watch)) for watch in watches]
    try:
        while (change := await changes.get()) is not None:
            yield change
        for task in tasks:
            if task.done():
                task.result()  # raises what ended it
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
