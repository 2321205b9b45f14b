"""Makes an API server serve TrafficProfiles: installs their definition, or changes it to ours."""

from __future__ import annotations

from pytest_k8s_netem.api.protocol import DEFINITIONS, TRAFFICPROFILES
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.profile.schema import definition
from pytest_k8s_netem.run.retry import attempts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Api, Object

SERVED_WITHIN = 30.0
"""Seconds; it takes up to 2 s."""


async def define(api: Api) -> Object:
    """Install it and wait until TrafficProfiles can be made.

    :raises ApiError: if we may not, or the server does not serve them in time.
    """
    wanted = definition()
    try:
        made = await api.create(DEFINITIONS, wanted)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
        made = await api.patch(DEFINITIONS, wanted["metadata"]["name"], wanted)
    async for attempt in attempts(SERVED_WITHIN, ApiError, most=0.1):
        with attempt:
            await api.list(TRAFFICPROFILES)
    return made
