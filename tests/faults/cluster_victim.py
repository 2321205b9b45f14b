"""A process with an embedded cluster of four pods, to be killed by a test: prints one JSON line, then waits.

``thread``: the cluster is started by a thread that ends at once, while the process lives on.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from pathlib import Path

from pytest_k8s_netem.local.addresses import NodeAddresses
from pytest_k8s_netem.local.host import NodeHost


async def bring_up(directory: Path) -> NodeHost:
    host = NodeHost(directory / "node-host.log")
    await host.start()
    node = NodeAddresses(0)
    await host.add_node("node-0", 0, node.own, node.prefixed(node.gateways))
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(4):
        name = f"default/p{number}"
        await host.add_pod(name, "node-0", node.prefixed(node.take()), node.gateways)
        # One that ignores signals, one that left its session: neither may survive.
        for script in ("trap '' TERM HUP; sleep 1000", "setsid sleep 1000 & sleep 1000"):
            await host.spawn(name, ["sh", "-c", script], env=dict(os.environ), stdio=(null, null, null))
    await host.forward("default/p0", 80)
    say = {"parent": os.getpid(), "stub": host.pid}
    sys.stdout.write(json.dumps(say) + "\n")
    sys.stdout.flush()
    return host


async def live(directory: Path) -> None:
    host = await bring_up(directory)
    await host.lost.wait()
    sys.stdout.write("lost\n")
    sys.stdout.flush()
    await host.close()


if __name__ == "__main__":
    where = Path(sys.argv[1])
    if sys.argv[2:] == ["thread"]:
        thread = threading.Thread(target=lambda: asyncio.run(bring_up(where)))
        thread.start()
        thread.join()
        time.sleep(1000)
    asyncio.run(live(where))
