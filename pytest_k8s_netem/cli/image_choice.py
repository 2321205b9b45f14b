"""Which images a command uses: those that are named, else the project's own, built here."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pytest_k8s_netem.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from pytest_k8s_netem.api.protocol import Api

Names = tuple[str, str]
"""The controller's image and the agent's."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The two images."""
    parser.add_argument("--image", metavar="NAME", default="", help="the controller's image (default: built here)")
    parser.add_argument("--agent-image", metavar="NAME", default="", help="the agent's image (default: built here)")
    parser.set_defaults(refuse=parser.error)


def named(arguments: argparse.Namespace) -> Names | None:
    """Images as they were named; None = they were not.

    :raises SystemExit: if only one was, with the status of a wrong command line.
    """
    if bool(arguments.image) != bool(arguments.agent_image):
        arguments.refuse("--image and --agent-image go together: the one starts the other and speaks to it")
    return (arguments.image, arguments.agent_image) if arguments.image else None


async def built() -> Names:
    """The project's own, in the local Docker.

    :raises ProviderError: if Docker is missing or cannot build them.
    """
    from pytest_k8s_netem.kube import image

    controller, agent = await asyncio.gather(image.built(image.CONTROLLER), image.built(image.AGENT))
    return controller, agent


async def brought(api: Api) -> Names:
    """The project's own, on the nodes of a kind cluster; to other clusters there is no way but a registry.

    :raises ConfigError: if it is no kind cluster. :raises ProviderError: if Docker or kind is missing or fails.
    """
    from pytest_k8s_netem.kube import kind

    cluster = await kind.name_of(api)
    if not cluster:
        raise ConfigError(
            "this is no cluster of kind, so its nodes need images from a registry. Build them and push them there:\n"
            "  netem images --tag=REGISTRY/netem\n"
            "  docker push NAME, for each of the two that it prints\n"
            "then name them: --image=REGISTRY/netem-controller:TAG --agent-image=REGISTRY/netem-agent:TAG"
        )
    names = await built()
    await kind.KindCluster(cluster, kubeconfig=Path()).provide(*names)  # which needs none for that
    return names
