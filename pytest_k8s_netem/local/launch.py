"""Starting and ending the node host's program."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from pytest_k8s_netem.errors import ProviderError

PACKAGE = Path(__file__).parents[1]
AGENT = PACKAGE / "agent" / "__main__.py"
"""The file rather than the folder, for which Python would load runpy and all that this needs."""
_END_SECONDS = 5.0


def command(fd: int) -> list[str]:
    """Its command line: an isolated interpreter that is told where our package and pyroute2 are.

    :param fd: its end of the control line, inherited.
    :raises ProviderError: if pyroute2 is not installed.
    """
    found = importlib.util.find_spec("pyroute2")
    if found is None or not found.submodule_search_locations:
        raise ProviderError("the embedded cluster needs pyroute2: pip install pyroute2")
    paths = [str(PACKAGE.parent), str(Path(next(iter(found.submodule_search_locations))).parent)]
    flags = [word for path in paths for word in ("--path", path)]
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("node_host.py")), "--fd", str(fd), *flags]


def end(child: subprocess.Popen[bytes]) -> None:
    """Wait for the end that closing the line brings about; insist when it does not come."""
    try:
        child.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()  # pid 1, and with it all others, dies with the process that waits for it
        child.wait()
