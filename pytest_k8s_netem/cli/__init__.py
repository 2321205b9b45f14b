"""The command ``netem``: tools beside the pytest plugin. A module a command, imported when it is asked for."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from pytest_k8s_netem.errors import NetemError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    class Command(Protocol):
        """What a command's module defines."""

        def arguments(self, parser: argparse.ArgumentParser) -> None:
            """Declare its options."""

        def run(self, arguments: argparse.Namespace) -> int:
            """Do it; the exit status.

            :raises NetemError: with what the user must know; the status is 1 then.
            """


COMMANDS = {
    "doctor": "try what this machine can do, and say how to get what is missing",
    "explain": "say what a marker or a TrafficProfile means, before anything is impaired",
    "observe": "show what is impaired now: of your runs on this machine, or of a cluster",
    "sweep": "remove what killed runs left behind",
    "install": "install the controller and its webhooks in a cluster, or upgrade them",
    "uninstall": "heal what is impaired, then remove everything from a cluster",
    "namespace": "allow pods of a cluster's namespaces to be impaired, or stop allowing it",
    "manifests": "print what would be installed, or write it for kustomize or Helm",
    "images": "build the images of controller and agent for a registry",
}
"""Each command and its line of help; ``-`` in a name is ``_`` in its module's."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 = done, 1 = something is missing or left, 2 = the command line is wrong."""
    said = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="netem", description="Network chaos for tests: tools beside the pytest plugin"
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="say which version this is")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {name: commands.add_parser(name, help=text, description=text) for name, text in COMMANDS.items()}
    chosen = next((word for word in said if word in COMMANDS), None)
    if chosen is not None:
        _command(chosen).arguments(parsers[chosen])
    arguments = parser.parse_args(said)
    try:
        return _command(arguments.command).run(arguments)
    except NetemError as error:
        print(error, file=sys.stderr)
        return 1


class _Version(argparse.Action):
    """Says name and version as they are installed; argparse's own action would have them read by every command."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"pytest-k8s-netem {version('pytest-k8s-netem')}")
        parser.exit()


def _command(name: str) -> Command:
    module: Command = import_module(f"pytest_k8s_netem.cli.{name.replace('-', '_')}")
    return module
