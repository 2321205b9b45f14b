"""What the webhook asks before it gives a pod the sidecar: its namespace's labels, and rights there."""

from __future__ import annotations

import asyncio

from pytest_k8s_netem.api.protocol import NAMESPACES, PODS
from pytest_k8s_netem.api.rights import Right, missing
from pytest_k8s_netem.kube.admission import Namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Api

KNOWN_FOR = 10.0
"""Seconds that a yes is believed; a no is asked again each time, since somebody may be about to change it."""
NEEDED = (("get", "exec"), ("create", "exec"), ("patch", "ephemeralcontainers"))
"""Verbs and subresources of pods: a websocket begins as a GET, and newer API servers ask for create as well."""


class Access:
    """Answers by SelfSubjectAccessReview, which every account may make: what counts is what the API server allows."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._allowed: dict[str, float] = {}

    async def namespace(self, name: str) -> Namespace:
        """What counts of a namespace.

        :raises ApiError: if the API server does not say.
        """
        found, reachable = await asyncio.gather(self._api.get(NAMESPACES, name), self.reachable(name))
        return Namespace(name, found["metadata"].get("labels") or {}, reachable)

    async def reachable(self, namespace: str) -> bool:
        """Whether the controller may do all that it needs in pods of the namespace.

        :raises ApiError: if the API server does not say.
        """
        now = asyncio.get_running_loop().time()
        if self._allowed.get(namespace, 0) > now:
            return True
        reachable = not await missing(self._api, [Right(verb, PODS, what, namespace) for verb, what in NEEDED])
        self._allowed.pop(namespace, None)
        if reachable:
            self._allowed[namespace] = now + KNOWN_FOR
        return reachable
