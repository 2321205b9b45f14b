"""``netem manifests``: what would be installed, as YAML, as a folder for kustomize, or as a chart for Helm."""

from __future__ import annotations

import sys
from pathlib import Path

from pytest_k8s_netem.cli import image_choice

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which images, which form."""
    image_choice.arguments(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--kustomize", metavar="DIR", type=Path, help="write a base for kustomize into this folder")
    form.add_argument("--helm", metavar="DIR", type=Path, help="write a chart for Helm into this folder")


def run(arguments: argparse.Namespace) -> int:
    """Print or write; no cluster is asked, nothing is built."""
    from pytest_k8s_netem.kube.image import AGENT, CONTROLLER, tag
    from pytest_k8s_netem.kube.install import bundle

    names = image_choice.named(arguments) or (tag(CONTROLLER, CONTROLLER.files()), tag(AGENT, AGENT.files()))
    if arguments.helm:
        files = bundle.chart(*names)
    elif arguments.kustomize:
        files = bundle.base(*names)
    else:
        sys.stdout.write(bundle.stream(*names))
        return 0
    for path in bundle.write(arguments.helm or arguments.kustomize, files):
        print(path)
    return 0
