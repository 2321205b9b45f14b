"""The options: one table makes ``--help``, ini keys, environment variables and docs. PYTEST_DONT_REWRITE."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import pytest


class Option(NamedTuple):  # every pytest run pays for this module: a dataclass takes ten times as long to make
    """One setting; its flag, ini key (``netem_missing``) and variable (``NETEM_MISSING``) follow from its name.

    :ivar kind: ``choice``, ``int``, ``count``, ``flag``, ``text`` or ``seconds``.
    """

    name: str
    kind: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    metavar: str = ""

    @property
    def flag(self) -> str:
        """On the command line."""
        return "--netem-" + self.name.replace("_", "-")

    @property
    def dest(self) -> str:
        """In ``config.option`` and in ini files."""
        return "netem_" + self.name

    @property
    def variable(self) -> str:
        """In the environment."""
        return self.dest.upper()


OPTIONS = (
    Option(
        "provider",
        "choice",
        "local",
        "What runs the pods: local, the embedded cluster (no Docker); apiserver, the same on a real API server; "
        "kind, a cluster in Docker; k3s, one in Docker by Testcontainers; kubeconfig, an existing cluster",
        ("local", "apiserver", "kind", "k3s", "kubeconfig"),
    ),
    Option(
        "engine",
        "choice",
        "auto",
        "What impairs packets: kernel (sch_netem), userspace (a worker process), or auto, which probes the kernel",
        ("auto", "kernel", "userspace"),
    ),
    Option("guest", "flag", False, "Run this pytest command in a user-mode-linux guest, whose kernel has sch_netem"),
    Option("guest_timeout", "seconds", 0, "End the guest after this time; 0 = never", metavar="SECONDS"),
    Option("guest_memory", "text", "1G", "Memory of the guest", metavar="SIZE"),
    Option(
        "missing",
        "choice",
        "fail",
        "Outcome of a test whose impairment this machine cannot do: an error, or skipped",
        ("fail", "skip"),
    ),
    Option("nodes", "count", 2, "How many nodes run pods, in a cluster that this run creates", metavar="N"),
    Option("cluster", "text", "", "kind: use the cluster of this name, or create it if there is none", metavar="NAME"),
    Option(
        "keep",
        "choice",
        "never",
        "kind: whether to keep a cluster that this run created; with always it is called netem and later runs reuse it",
        ("never", "on-failure", "always"),
    ),
    Option(
        "kind_image",
        "text",
        "",
        "kind: image of the nodes; if not given, KIND_NODE_IMAGE or kind's own",
        metavar="IMAGE",
    ),
    Option("kind_config", "text", "", "kind: configuration file, instead of --netem-nodes", metavar="PATH"),
    Option("k3s_image", "text", "rancher/k3s:v1.34.1-k3s1", "k3s: image of the container", metavar="IMAGE"),
    Option(
        "image", "text", "", "Image of the controller in a registry; if not given, it is built here", metavar="IMAGE"
    ),
    Option(
        "agent_image", "text", "", "Image of the agent in a registry; if not given, it is built here", metavar="IMAGE"
    ),
    Option(
        "kubeconfig",
        "text",
        "",
        "kubeconfig: file that names the cluster; if not given, KUBECONFIG or ~/.kube/config; it is only read",
        metavar="PATH",
    ),
    Option("context", "text", "", "kubeconfig: context in that file; if not given, its current one", metavar="NAME"),
    Option(
        "namespace",
        "text",
        "",
        "kubeconfig: namespace to work in; if not given, the context's or default",
        metavar="NAME",
    ),
    Option(
        "allow_namespaces",
        "text",
        "",
        "kubeconfig: existing namespaces whose pods may be impaired, separated by commas; * = all except the system's",
        metavar="LIST",
    ),
    Option(
        "controller",
        "choice",
        "auto",
        "kubeconfig: which controller acts: the one in the cluster, put there by netem install, or one in this "
        "process; auto takes the one in the cluster if there is one and it may be asked",
        ("auto", "cluster", "process"),
    ),
    Option(
        "namespace_scope",
        "choice",
        "function",
        "Scope of the fixture netem_namespace",
        ("function", "class", "module", "package", "session"),
    ),
    Option(
        "seed",
        "int",
        None,
        "Seed of everything random; shown with the impairments of failed tests and with -v",
        metavar="N",
    ),
    Option(
        "inert",
        "choice",
        "error",
        "Outcome of a test whose impairment met none of its packets",
        ("error", "warn", "ignore"),
    ),
    Option(
        "unexercised",
        "choice",
        "warn",
        "Outcome of a test whose impairment met packets, but lost, delayed or changed none",
        ("error", "warn", "ignore"),
    ),
    Option(
        "evidence",
        "choice",
        "on-failure",
        "Whether the report of a failing test gets logs, events and the impairments' state",
        ("on-failure", "never"),
    ),
    Option(
        "artifacts",
        "text",
        "",
        "Where that evidence is written in full; if not given, below pytest's temporary directory",
        metavar="DIR",
    ),
    Option("allow_script", "flag", False, "Run TrafficProfiles of type Script: executables named by the profile"),
    Option("timeout", "seconds", 60, "How long pods may take to become ready", metavar="SECONDS"),
)


class Settings(NamedTuple):
    """All options as resolved; :attr:`sources` says where each value came from."""

    provider: str
    engine: str
    guest: bool
    guest_timeout: float
    guest_memory: str
    missing: str
    nodes: int
    cluster: str
    keep: str
    kind_image: str
    kind_config: str
    k3s_image: str
    image: str
    agent_image: str
    kubeconfig: str
    context: str
    namespace: str
    allow_namespaces: str
    controller: str
    namespace_scope: str
    seed: int | None
    inert: str
    unexercised: str
    evidence: str
    artifacts: str
    allow_script: bool
    timeout: float
    sources: tuple[tuple[str, str], ...]


SETTINGS = pytest.StashKey[Settings]()


def add_options(parser: pytest.Parser) -> None:
    """Declare every option with its ini twin."""
    group = parser.getgroup("netem", "network emulation (pytest-k8s-netem)")
    for option in OPTIONS:
        text = f"{option.help} (ini: {option.dest}, environment: {option.variable}, default: {_shown(option)})"
        if option.kind == "flag":
            group.addoption(option.flag, dest=option.dest, action="store_true", default=None, help=text)
        elif option.kind == "choice":
            group.addoption(option.flag, dest=option.dest, default=None, choices=option.choices, help=text)
        else:
            group.addoption(option.flag, dest=option.dest, default=None, metavar=option.metavar, help=text)
        parser.addini(option.dest, f"{option.help}; as {option.flag}", default=None)


def _shown(option: Option) -> str:
    return {None: "drawn", False: "off", "": "none"}.get(option.default, str(option.default))


def defaults() -> Settings:
    """The settings when nobody says anything; ``--help`` must work on a broken configuration."""
    values: dict[str, Any] = {option.name: option.default for option in OPTIONS}
    return Settings(**values, sources=())


def resolve(config: pytest.Config) -> Settings:
    """The settings of this run: command line, then environment, then ini, then default.

    :raises pytest.UsageError: naming option, source and what would be right.
    """
    values: dict[str, Any] = {}
    sources: list[tuple[str, str]] = []
    for option in OPTIONS:
        said, source = _said(config, option)
        values[option.name] = option.default if source == "default" else _read(option, said, source)
        sources.append((option.name, source))
    return Settings(**values, sources=tuple(sources))


def _said(config: pytest.Config, option: Option) -> tuple[Any, str]:
    if (value := config.getoption(option.dest)) is not None:
        return value, option.flag
    if (text := os.environ.get(option.variable)) not in {None, ""}:
        return text, f"environment variable {option.variable}"
    if (ini := config.getini(option.dest)) not in {None, ""}:
        return ini, f"ini option {option.dest}"
    return None, "default"


def _read(option: Option, value: Any, source: str) -> Any:
    text = str(value).strip()
    try:
        if option.kind == "flag":
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
        if option.kind == "int":
            return int(text)
        if option.kind == "count":
            return _count(text)
        if option.kind == "seconds":
            return _seconds(text)
    except (KeyError, ValueError):
        raise pytest.UsageError(f"{source}: {text!r} is not {_WANTED[option.kind]}") from None
    if option.choices and text not in option.choices:
        raise pytest.UsageError(f"{source}: {text!r} is not one of {', '.join(option.choices)}")
    return text


_WANTED = {
    "flag": "true or false",
    "int": "a whole number",
    "count": "a whole number, 1 or more",
    "seconds": "seconds, 0 or more",
}


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count


def _seconds(text: str) -> float:
    seconds = float(text.removesuffix("s"))
    if not 0 <= seconds < float("inf"):
        raise ValueError(text)
    return seconds
