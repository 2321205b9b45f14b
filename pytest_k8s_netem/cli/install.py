"""``netem install``: bring the controller and its webhooks into a cluster, or an older installation up to date."""

from __future__ import annotations

from pytest_k8s_netem.cli import clusters, image_choice

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which cluster, which images."""
    clusters.arguments(parser)
    image_choice.arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Install, and say what comes next."""
    from pytest_k8s_netem.kube.install.apply import install

    with clusters.connected(arguments) as (call, api):
        controller, agent = image_choice.named(arguments) or call(image_choice.brought(api))
        call(install(api, controller_image=controller, agent_image=agent))
    print(f"installed {controller}, which gives pods {agent}")
    print("pods of a namespace are impaired once it is enabled: netem namespace enable NAMESPACE")
    return 0
