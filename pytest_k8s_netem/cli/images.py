"""``netem images``: build the controller's image and the agent's, for a registry of one's own."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """What they are to be called."""
    parser.add_argument(
        "--tag", metavar="PREFIX", default="", help="name them PREFIX-controller and PREFIX-agent; the tag stays"
    )


def run(arguments: argparse.Namespace) -> int:
    """Build them, and print their names: the controller's, the agent's."""
    from pytest_k8s_netem.cli.image_choice import built
    from pytest_k8s_netem.kube.programs import run as program
    from pytest_k8s_netem.run.portal import Portal

    portal = Portal()
    try:
        for name in portal.call(built()):
            if arguments.tag:
                what, _, tag = name.rpartition("/")[2].partition(":")
                portal.call(program("docker", "tag", name, shown := f"{arguments.tag}-{what}:{tag}"))
            else:
                shown = name
            print(shown)
    finally:
        portal.stop()
    return 0
