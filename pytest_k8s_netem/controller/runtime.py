"""What any controller needs: shared informers, workers over a queue, one start and one end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pytest_k8s_netem.controller.informer import Informer
from pytest_k8s_netem.controller.queue import WorkQueue
from pytest_k8s_netem.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from pytest_k8s_netem.api.protocol import Api, Kind

Reconcile = Callable[[str], Awaitable[float | None]]
"""Brings one key to what is declared; returns seconds after which to look again, None = when something changes."""
CONFLICTS = (404, 409)
"""Answers of the API that mean that somebody was faster: the next look sees what they did."""

_log = logging.getLogger(__name__)


class Controller:
    """Workers that reconcile the keys of a queue; an error puts the key back, later and later."""

    def __init__(self, name: str, reconcile: Reconcile, workers: int = 1) -> None:
        self.name = name
        self.queue = WorkQueue()
        self._reconcile = reconcile
        self._workers = workers
        self._last: dict[str, str] = {}

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                again = await self._reconcile(key)
            except Exception as error:
                self._failed(key, error)
            else:
                self.queue.forget(key)
                self._last.pop(key, None)
                if again is not None:
                    self.queue.add_after(key, again)
            finally:
                self.queue.done(key)

    def _failed(self, key: str, error: Exception) -> None:
        seconds = self.queue.retry(key)
        conflict = isinstance(error, ApiError) and error.status in CONFLICTS
        level = logging.DEBUG if conflict else logging.WARNING
        anew = not conflict and self._last.get(key) != repr(error)  # else the traceback was told a moment ago
        self._last[key] = repr(error)
        _log.log(level, "%s %s: %s; again in %.2f s", self.name, key, error, seconds, exc_info=anew)


class Runtime:
    """The informers and controllers of one process on one api; belongs to one event loop."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._informers: dict[tuple[Kind, str | None], Informer] = {}
        self._controllers: list[Controller] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._running = False

    def informer(self, kind: Kind, namespace: str | None = None) -> Informer:
        """The informer of that kind, one for all who ask; once the runtime runs, it runs too."""
        if (kind, namespace) not in self._informers:
            informer = self._informers[kind, namespace] = Informer(self.api, kind, namespace)
            if self._running:
                self._spawn(informer.run(), f"informer of {kind.plural}")
        return self._informers[kind, namespace]

    def controller(self, name: str, reconcile: Reconcile, workers: int = 1) -> Controller:
        """A controller; it begins when all informers have their first listing."""
        controller = Controller(name, reconcile, workers)
        self._controllers.append(controller)
        if self._running:
            self._spawn(controller.run(), name)
        return controller

    async def start(self) -> None:
        """Start the informers, wait for their first listings, start the controllers."""
        self._running = True
        for informer in self._informers.values():
            self._spawn(informer.run(), f"informer of {informer.kind.plural}")
        for informer in list(self._informers.values()):
            await informer.synced.wait()
        for controller in self._controllers:
            self._spawn(controller.run(), controller.name)

    async def stop(self) -> None:
        """End everything and wait for it."""
        self._running = False
        for controller in self._controllers:
            controller.queue.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(_ended)
        self._tasks.append(task)


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.error("%s ended: %s", task.get_name(), error, exc_info=error)
