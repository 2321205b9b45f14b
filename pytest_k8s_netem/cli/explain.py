"""``netem explain``: what a marker or a TrafficProfile means, before anything is impaired."""

from __future__ import annotations

import sys
from pathlib import Path

from pytest_k8s_netem.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.cluster.spec import Spec
    from pytest_k8s_netem.report.explanation import Explained


def arguments(parser: argparse.ArgumentParser) -> None:
    """What is to be explained."""
    parser.description = (
        "Say in plain words what a marker or a TrafficProfile means: whose packets, what happens to them, what a round "
        "trip gets, what is left alone, how long, by which engine and with which proof. Nothing is impaired, no "
        "cluster is asked. The exit status is 2 if it is invalid."
    )
    parser.add_argument(
        "what",
        metavar="WHAT",
        help='the marker\'s arguments, in single quotes: \'delay="100ms", pods="app=web"\'; or a file with a '
        "TrafficProfile; or - for such an object on standard input",
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")


def run(arguments: argparse.Namespace) -> int:
    """Read, explain; 2 and nothing but the mistakes if it cannot be meant."""
    from pytest_k8s_netem.report.explanation import explain, simple

    try:
        said = _explained(arguments.what)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.output == "json":
        import json

        print(json.dumps(simple(said), indent=2))
    else:
        print("\n".join(explain(said)))
    return 0


def _explained(text: str) -> Explained:
    """What the text means, read as a marker is.

    :raises ConfigError: with the words that the marker's test would have as its error.
    """
    from pytest_k8s_netem.cluster.spec import SpecReader, refusal
    from pytest_k8s_netem.profile.parse import parse
    from pytest_k8s_netem.report.explanation import Explained
    from pytest_k8s_netem.resolve.samplepods import HOME

    spec, folders = _spec(text), (Path.cwd(),)
    if why := refusal(spec, folders):
        raise ConfigError(why)
    reader = SpecReader(HOME, "0", 0, "auto", folders)
    obj = reader.read(spec)
    whole = "profile" in spec.arguments
    said = obj["spec"].get("impairment") if whole else spec.arguments
    return Explained(parse(obj), tuple(dict.fromkeys(_presets(said))), spec.face, whole)


def _spec(text: str) -> Spec:
    from pytest_k8s_netem.cli.marker_text import keywords
    from pytest_k8s_netem.cluster.spec import Spec

    if text == "-":
        return Spec("netem", {"profile": _standard_input()})
    if text.endswith((".yaml", ".yml", ".json")) or _is_file(text):
        return Spec("netem", {"profile": text})
    said = keywords(text)
    return Spec(str(said.pop("name", "") or "netem"), said)


def _standard_input() -> Object:
    from pytest_k8s_netem.cluster.manifests import load

    try:
        objects = load(f"{sys.stdin.read()}\n")  # the newline makes it a text, not a path
    except UnicodeError as error:
        raise ConfigError(f"standard input is not YAML: not text in UTF-8: {error}") from None
    kinds = [str(obj["kind"]) for obj in objects]
    if kinds != ["TrafficProfile"]:
        raise ConfigError(f"standard input: expected one TrafficProfile, found {', '.join(kinds)}")
    return objects[0]


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _presets(said: object) -> list[str]:
    """Names of presets, wherever they stand in what was said."""
    if isinstance(said, dict):
        own = [said["preset"]] if isinstance(said.get("preset"), str) else []
        return own + [name for value in said.values() for name in _presets(value)]
    return [name for value in said for name in _presets(value)] if isinstance(said, list | tuple) else []
