"""The agent as a program: ``python -I -S PATH/agent/__main__.py keep --admin-fd N | keep --socket PATH [--idle S] |
relay --socket PATH | wait --file FILE --within S | attend --file FILE``.

It finds its own package, so that neither an installation nor an environment is needed.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.agent.trial import Trial

USAGE = (
    "usage: agent keep (--admin-fd N | --socket PATH [--idle SECONDS]) | agent relay --socket PATH | "
    "agent wait --file FILE --within SECONDS | agent attend --file FILE"
)


def main(arguments: list[str]) -> int:
    """Run one of the programs; return its exit status, 2 for a wrong command line."""
    match arguments:
        case ["keep", "--admin-fd", number] if number.isdecimal():
            trial = _begin()
            from pytest_k8s_netem.agent.serve import keep_locally

            return keep_locally(int(number), trial)
        case ["keep", "--socket", path]:
            return _keep_here(path, 0)
        case ["keep", "--socket", path, "--idle", seconds] if seconds.isdecimal():
            return _keep_here(path, int(seconds))
        case ["relay", "--socket", path]:
            from pytest_k8s_netem.agent.relay import relay

            return relay(path)
        case ["wait" | "attend", *_]:
            return _at_gate(arguments)
    return _wrong()


def _at_gate(arguments: list[str]) -> int:
    from pytest_k8s_netem.agent.gate import attend, wait

    match arguments:
        case ["wait", "--file", path, "--within", seconds] if seconds.isdecimal():
            return wait(path, int(seconds))
        case ["attend", "--file", path]:
            return attend(path)
    return _wrong()


def _wrong() -> int:
    sys.stderr.write(f"{USAGE}\n")
    return 2


def _keep_here(path: str, idle: int) -> int:
    trial = _begin()
    from pytest_k8s_netem.agent.serve import keep_here

    return keep_here(path, os.environ.get("NETEM_TARGET") or "self", trial, idle)


def _begin() -> Trial:
    """Let a child find out what the kernel can do while this process loads the rest."""
    from pytest_k8s_netem.agent.trial import Trial

    return Trial()


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(here))
    sys.path = [root, *(path for path in sys.path if os.path.abspath(path) != here)]
    sys.exit(main(sys.argv[1:]))
