"""Which containers something has happened to, as Docker tells it."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import aclosing, suppress

from pytest_k8s_netem.run import dying
from pytest_k8s_netem.run.retry import backoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Any

TOLD = ("die", "start", "connect", "disconnect")
"""What may change a container's network: its end, its start, a network more or less."""
_log = logging.getLogger(__name__)


async def happenings() -> AsyncGenerator[str, None]:
    """Ids of containers that are to be looked at again, for ever; "" = all, since something may have been missed."""
    failures = 0
    while True:
        since = time.time() - 1  # what happens before the program listens is told too
        yield ""
        async with aclosing(_events(since)) as told:
            async for container in told:
                failures = 0
                yield container
        failures += 1
        _log.warning("docker events ended; asked again")
        await asyncio.sleep(backoff(failures, 0.1))


async def _events(since: float) -> AsyncGenerator[str, None]:
    filters = [word for name in TOLD for word in ("--filter", f"event={name}")]
    types = ["--filter", "type=container", "--filter", "type=network"]
    program = shutil.which("docker")
    if program is None:
        return
    argv = [program, "events", "--since", f"{since:.3f}", "--format", "{{json .}}", *types, *filters]
    if sys.platform == "linux":
        argv = dying.command(argv)  # it would notice the end of this process with the next event only
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, start_new_session=True
    )
    try:
        while process.stdout is not None and (line := await process.stdout.readline()):
            if container := _container(json.loads(line)):
                yield container
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _container(event: dict[str, Any]) -> str:
    actor = event.get("Actor") or {}
    if event.get("Type") == "network":
        return str((actor.get("Attributes") or {}).get("container") or "")
    return str(actor.get("ID") or "")
