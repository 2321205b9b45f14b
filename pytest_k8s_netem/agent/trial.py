"""A child that finds out what the kernel lets this process do, while this process goes on."""

from __future__ import annotations

import os


class Trial:
    """Begins at once. What it needs is imported by the child alone.

    :raises OSError: if no child can be made.
    """

    def __init__(self) -> None:
        self._read_end, write_end = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            _try(write_end)
        os.close(write_end)

    def answer(self) -> dict[str, str]:
        """Wait for what was found, once: per need and privilege why it is not there, "" = it is; {} if it died."""
        with open(self._read_end, encoding="utf-8") as pipe:
            found = (line.rstrip("\n").partition("=") for line in pipe)
            return {name: why for name, _, why in found}

    def over(self) -> bool:
        """Whether the child has ended: later than it answers, since the kernel waits for readers of what it made."""
        from pytest_k8s_netem.agent.forked import is_over

        return is_over(self._child)


def _try(write_end: int) -> None:
    try:
        from pytest_k8s_netem.agent.trials import try_all

        lines = "".join(f"{name}={why}\n" for name, why in try_all().items())
        os.write(write_end, lines.encode())  # some hundred bytes: a pipe holds them
        os.close(write_end)  # an exiting process closes it after its packet socket, for which the kernel waits 12 ms
    finally:
        os._exit(0)
