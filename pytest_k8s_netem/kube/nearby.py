"""Clusters that a tool of this machine made, known by the names in a kubeconfig: their nodes take images from here."""

from __future__ import annotations

from typing import NamedTuple

from pytest_k8s_netem.kube.kind import awake
from pytest_k8s_netem.kube.programs import run

MAKERS = {
    "kind": ("kind", "load", "docker-image", "{image}", "--name", "{name}"),
    "k3d": ("k3d", "image", "import", "{image}", "--cluster", "{name}"),
}
"""How each brings an image of the local Docker to the nodes of a cluster."""


class Nearby(NamedTuple):
    """One such cluster."""

    maker: str
    name: str

    def command(self, image: str) -> list[str]:
        """What brings an image there."""
        return [word.format(image=image, name=self.name) for word in MAKERS[self.maker]]

    async def load(self, image: str) -> None:
        """Bring it there.

        :raises ProviderError: with the tool's own words, or if a node of kind does not run.
        """
        if self.maker == "kind":
            await awake(self.name)
        await run(*self.command(image))


def of_context(*names: str) -> Nearby | None:
    """The cluster behind a context, from the first of its names that such a tool has given."""
    for text in names:
        maker, _, name = text.partition("-")
        if name and maker in MAKERS:
            return Nearby(maker, name)
    return None
