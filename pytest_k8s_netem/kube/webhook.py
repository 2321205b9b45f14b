"""The server of the two webhooks: HTTPS, three paths, nothing that one request could break for the next."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

from pytest_k8s_netem.errors import ApiError, ConfigError
from pytest_k8s_netem.kube import admission
from pytest_k8s_netem.kube.admission import Namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

    from aiohttp import web

    from pytest_k8s_netem.api.protocol import Object

MUTATE, VALIDATE, HEALTH, ALIVE = "/mutate", "/validate", "/healthz", "/livez"
LARGEST = 8 << 20
"""Bytes of a review: it holds an object twice, and etcd takes 1.5 MiB of it."""
STOP_WITHIN = 2.0
"""Seconds for requests under way when the server stops."""

FindNamespace = Callable[[str], Awaitable[Namespace]]

_log = logging.getLogger(__name__)


class WebhookServer:
    """Serves admission reviews.

    :param image: the agent's; "" = pods get no sidecar here. :param namespace: looks a namespace up.
    :param ready: what :data:`HEALTH` says beside 200, or 503: why this process is of no use now, "" = it is of use.
    """

    def __init__(self, image: str, namespace: FindNamespace, ready: Callable[[], str]) -> None:
        self._image, self._namespace, self._ready = image, namespace, ready
        self._runner: web.AppRunner | None = None

    async def start(self, host: str | None, port: int, tls: ssl.SSLContext) -> int:
        """Listen; the port, which is a free one for 0.

        :param host: None = all addresses of both families. :param tls: its certificate may be changed later.
        :raises OSError: if the port is taken.
        """
        from aiohttp import web

        app = web.Application(client_max_size=LARGEST)
        app.router.add_post(MUTATE, self._mutate)
        app.router.add_post(VALIDATE, self._validate)
        app.router.add_get(HEALTH, self._health)
        app.router.add_get(ALIVE, self._alive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_WITHIN)
        await self._runner.setup()
        listening = await asyncio.to_thread(_listening, host, port)
        await web.SockSite(self._runner, listening, ssl_context=tls).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _mutate(self, request: web.Request) -> web.Response:
        return await self._reviewed(request, self._mutated)

    async def _validate(self, request: web.Request) -> web.Response:
        async def validated(asked: Object) -> Object:
            return await asyncio.to_thread(admission.validated, asked)  # a large one takes a while to parse

        return await self._reviewed(request, validated)

    async def _mutated(self, asked: Object) -> Object:
        try:
            namespace = await self._namespace(admission.namespace_of(asked))
        except ApiError as error:
            return admission.answer(asked, warnings=[f"k8s-netem: no agent in this pod: {error}"])
        return admission.mutated(asked, namespace, self._image)

    async def _reviewed(self, request: web.Request, work: Callable[[Object], Awaitable[Object]]) -> web.Response:
        from aiohttp import web

        try:
            answer = await work(admission.request_of(await request.json()))
        except (ConfigError, ValueError, RecursionError) as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from None
        return web.json_response(answer)

    async def _health(self, _request: web.Request) -> web.Response:
        from aiohttp import web

        why = self._ready()
        return web.Response(text=f"{why or 'ok'}\n", status=503 if why else 200)

    async def _alive(self, _request: web.Request) -> web.Response:
        from aiohttp import web

        return web.Response(text="ok\n")


def _listening(host: str | None, port: int) -> socket.socket:
    """A listening socket; for all addresses one of both families, where the kernel has both."""
    if host is None:
        try:
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError:
            host = ""
    return socket.create_server((host, port))
