"""``pytest --netem-guest``: the same pytest command, in a guest."""

from __future__ import annotations

import contextlib
import os
import sys

from pytest_k8s_netem.errors import ConfigError, NetemError
from pytest_k8s_netem.guest.needs import DEFAULT_MEMORY, own_place, requirements
from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import pytest

OPTION = "--netem-guest"
INSIDE = "NETEM_INSIDE_GUEST"
"""Environment variable that is 1 in a guest: whoever asks for a guest there is in it already."""


def main(
    config: pytest.Config,
    *,
    provider: str = "local",
    memory: str = DEFAULT_MEMORY,
    timeout: float | None = None,
) -> int | None:
    """Run this pytest command in a guest and return its exit status; None in a guest, and for --help and --version.

    For a ``pytest_cmdline_main`` that is tried first, once a guest is asked for by option, environment or ini.

    :param provider: the provider asked for; anything but the embedded cluster is refused.
    :param memory: the guest's memory, ``1G``.
    :param timeout: seconds after which the guest is ended; None or 0 for never.
    :raises pytest.UsageError: a need of the guest is missing, or an option cannot work in one.
    """
    if os.environ.get(INSIDE) == "1" or _option(config, "help") or _option(config, "version"):
        return None
    import pytest

    try:
        if problems := refusals(config, provider) or requirements(memory):
            raise ConfigError(problems=problems)
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from None

    from pytest_k8s_netem.guest.keeping import EVIDENCE, evidence_folder
    from pytest_k8s_netem.guest.run import run_in_guest  # needs Unix, which is certain from here on

    with _real_output(config):
        try:
            return run_in_guest(
                inner_command(config),
                env=os.environ | {INSIDE: "1", EVIDENCE: str(evidence_folder())},
                cwd=str(config.invocation_params.dir),
                memory=memory,
                timeout=timeout or None,
            )
        except NetemError as error:
            os.write(2, f"{OPTION}: {error}\n".encode(errors="replace"))
            return pytest.ExitCode.INTERNAL_ERROR


def inner_command(config: pytest.Config) -> list[str]:
    """The same interpreter, its flags, pytest and the arguments of this run, less the wish for a guest."""
    from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]  # as multiprocessing does

    params = config.invocation_params
    flags = _args_from_interpreter_flags()
    if not {"", str(params.dir)} & set(sys.path) and "-P" not in flags:
        flags.append("-P")  # started as the script "pytest", which does not put the working directory on sys.path
    return [sys.executable, *flags, "-m", "pytest", *(arg for arg in map(str, params.args) if arg != OPTION)]


def refusals(config: pytest.Config, provider: str) -> list[Problem]:
    """Options that cannot mean in a guest what they mean outside."""
    problems = []
    for name, flag in (("usepdb", "--pdb"), ("trace", "--trace")):
        if _option(config, name):
            problems.append(Problem("", "", f"{flag} needs a terminal inside the guest", f"run without {OPTION}"))
    if provider != "local":
        why = "this cluster is outside the guest, which has no network but its own"
        problems.append(Problem("--netem-provider", provider, why, f"use the provider local, or run without {OPTION}"))
    for where in _option(config, "tx") or ():
        if "ssh=" in where or "socket=" in where:
            why = "this host is outside the guest, which has no network but its own"
            problems.append(Problem("--tx", where, why, f"use -n, or run without {OPTION}"))
    if any(not isinstance(plugin, str) for plugin in config.invocation_params.plugins or ()):
        why = "plugin objects were given to pytest.main(), and objects cannot be handed to another kernel"
        problems.append(Problem(OPTION, "", why, "name the plugins with -p, or run the command pytest"))
    return [*problems, *_hidden_paths(config)]


def _hidden_paths(config: pytest.Config) -> Iterator[Problem]:
    """Paths that this run uses and a guest would not share: results written there would be lost without a word."""
    params = config.invocation_params
    named = [("working directory", str(params.dir)), ("Python", sys.prefix)]
    for arg in map(str, params.args):
        option, _, value = arg.rpartition("=")
        named.append((option or "argument", value.partition("::")[0]))
    for what, path in named:
        if os.path.isabs(path) and (place := own_place(path)):
            yield Problem(what, path, f"in a guest {place} is the guest's own", f"use another folder, or no {OPTION}")


def _option(config: pytest.Config, name: str) -> Any:
    return config.getoption(name, None)


@contextlib.contextmanager
def _real_output(config: pytest.Config) -> Iterator[None]:
    """Descriptors 1 and 2 are the user's meanwhile: pytest captures them from its start."""
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        yield
        return
    capture.suspend_global_capture(in_=True)
    try:
        yield
    finally:
        capture.resume_global_capture()
