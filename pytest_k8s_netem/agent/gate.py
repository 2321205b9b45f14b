"""The gate of a pod that starts: one program in which its kubelet stands, and one by which the controller opens it."""

from __future__ import annotations

import json
import os
import sys
import time

LOOK = 0.01
"""s between two looks for the file that says that the gate is open."""


def wait(path: str, seconds: int) -> int:
    """Wait until the gate is open, for so long at most; return the exit status, 0 in either case."""
    deadline = time.monotonic() + seconds
    while not os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(LOOK)
    return 0


def attend(path: str) -> int:
    """Tell the namespace's interfaces in a line of JSON, and open the gate once a byte comes; return the exit status.

    The end of standard input opens nothing: whoever asked is gone, and another one may come.
    """
    from pytest_k8s_netem.agent.dataplane.netlink import Netlink
    from pytest_k8s_netem.model.greeting import INTERFACE

    told = [INTERFACE.encode(interface) for interface in Netlink.open().interfaces()]
    sys.stdout.write(f"{json.dumps(told)}\n")
    sys.stdout.flush()
    if os.read(0, 1):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return 0
