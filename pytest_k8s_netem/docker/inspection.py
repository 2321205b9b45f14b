"""What Docker knows of a container, as far as its network is concerned."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from pytest_k8s_netem.docker.command import docker
from pytest_k8s_netem.errors import ConfigError, ProviderError

ABSENT = ("no such container", "no such object")
"""What Docker says (lower case) of a container that it has not; one that is away says "no such file" of its socket."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network that a container is on: its own addresses there, and those of the machine."""

    id: str
    name: str
    addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Container:
    """A container as it was when it was looked at.

    :ivar status: ``running``, ``exited`` ... :ivar started: when, as Docker writes it. :ivar pid: 0 = it does not run.
    :ivar mode: its network mode: ``bridge``, ``host``, ``none``, ``container:ID`` or a network's name.
    :ivar sandbox: path of its network namespace on Docker's machine.
    """

    id: str
    name: str
    image: str = ""
    status: str = "running"
    started: str = ""
    pid: int = 0
    mode: str = "bridge"
    sandbox: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    networks: tuple[Network, ...] = ()

    @property
    def running(self) -> bool:
        """Whether it has a network now; a paused one has."""
        return self.status in ("running", "paused")

    @property
    def life(self) -> str:
        """Differs after each start, with which it gets a new network namespace."""
        return f"{self.started} {self.sandbox}"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its addresses on all networks."""
        return tuple(address for network in self.networks for address in network.addresses)

    def __str__(self) -> str:
        return f"{self.name} ({self.id[:12]})"


async def look(reference: str) -> Container | None:
    """A container by name or id; None = there is none.

    :raises ProviderError: if Docker cannot be asked.
    """
    try:
        said = await docker("container", "inspect", reference)
    except ProviderError as error:
        said = str(error).lower()
        if any(absent in said for absent in ABSENT):
            return None
        raise
    return read(json.loads(said)[0])


async def inspect(reference: str) -> Container:
    """A container that can be impaired.

    :raises ConfigError: if there is none, or it has no network of its own. :raises ProviderError: without Docker.
    """
    found = await look(reference)
    if found is None:
        raise ConfigError(f"netem.attach: Docker has no container {reference!r}; docker ps -a shows those it has")
    if why := unfit(found):
        raise ConfigError(f"netem.attach: container {found} {why}")
    return found


def unfit(container: Container) -> str:
    """Why it cannot be impaired; "" = nothing is in the way."""
    if container.mode == "host":
        return (
            "uses this machine's own network (network mode host): impairing it would impair the machine; "
            "run it on a network of its own: docker run --network bridge"
        )
    if container.mode.startswith("container:"):
        other = container.mode.partition(":")[2]
        return f"shares the network of container {other[:12]}: attach that one, both are impaired then"
    if not container.running:
        return f"does not run: it is {container.status}; start it before it is attached"
    if container.mode == "none" or not container.addresses:
        return "has no network: run it on one (docker run --network bridge), or connect it (docker network connect)"
    return ""


def read(data: dict[str, Any]) -> Container:
    """One element of what ``docker container inspect`` writes."""
    state, config, settings = data["State"], data["Config"], data["NetworkSettings"]
    networks = (settings.get("Networks") or {}).items()
    return Container(
        id=data["Id"],
        name=data["Name"].lstrip("/"),
        image=config.get("Image") or "",
        status=state.get("Status") or "",
        started=state.get("StartedAt") or "",
        pid=int(state.get("Pid") or 0),
        mode=(data.get("HostConfig") or {}).get("NetworkMode") or "",
        sandbox=settings.get("SandboxKey") or "",
        labels=dict(config.get("Labels") or {}),
        networks=tuple(_network(name, said) for name, said in sorted(networks)),
    )


def _network(name: str, said: dict[str, Any]) -> Network:
    return Network(
        said.get("NetworkID") or name,
        name,
        _given(said, "IPAddress", "GlobalIPv6Address"),
        _given(said, "Gateway", "IPv6Gateway"),
    )


def _given(said: dict[str, Any], *keys: str) -> tuple[str, ...]:
    return tuple(str(said[key]) for key in keys if said.get(key))
