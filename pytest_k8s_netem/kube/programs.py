"""Docker and kind, as the programs that users have on PATH."""

from __future__ import annotations

import asyncio
import shutil

from pytest_k8s_netem.errors import ProviderError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INSTALL = {
    "docker": "install Docker Engine (https://docs.docker.com/engine/install/) and start it",
    "kind": "install kind (https://kind.sigs.k8s.io/docs/user/quick-start/#installation): "
    "go install sigs.k8s.io/kind@latest, or put its release binary on PATH",
}
"""How to get what is missing."""
TAIL = 30
"""Lines of a program's output that a message shows."""


class Failed(ProviderError):
    """A program ended badly.

    :ivar said: the end of what it wrote.
    """

    def __init__(self, argv: Sequence[str], status: int, said: str) -> None:
        self.said = said
        super().__init__(f"{' '.join(argv)} ended with {status}:\n{said}")


async def run(
    *argv: str,
    stdin: bytes = b"",
    environ: Mapping[str, str] | None = None,
    timeout: float = 600,
    check: bool = True,
    merged: bool = False,
) -> str:
    """Run a program to its end: its standard output; "" if it failed and that is not to be checked.

    :param timeout: seconds; then it is killed. :param merged: its standard error is part of its output.
    :raises ProviderError: if it is not on PATH, failed, or took too long.
    """
    path = shutil.which(argv[0], path=(environ or {}).get("PATH"))
    if path is None:
        raise ProviderError(f"there is no {argv[0]} on PATH; {INSTALL.get(argv[0], 'install it')}")
    pipe = asyncio.subprocess.PIPE
    errors = asyncio.subprocess.STDOUT if merged else pipe
    process = await asyncio.create_subprocess_exec(path, *argv[1:], stdin=pipe, stdout=pipe, stderr=errors, env=environ)
    try:
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(stdin)
    except TimeoutError:
        raise ProviderError(f"{' '.join(argv[:3])} did not end within {timeout:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode and check:
        said = "\n".join((err or out).decode(errors="replace").strip().splitlines()[-TAIL:])
        raise Failed(argv, process.returncode, said)
    return "" if process.returncode else out.decode(errors="replace")
