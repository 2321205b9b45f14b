"""The controller of a crowd, as a process with memory of its own: ``python crowd_controller.py KUBECONFIG FOLDER``."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import Any

from pytest_k8s_netem.api.connection import Connection
from pytest_k8s_netem.api.kubernetes import KubernetesApi
from pytest_k8s_netem.controller.leases import LEASE
from pytest_k8s_netem.controller.runtime import Runtime
from pytest_k8s_netem.controller.stream import SocketStream, StreamChannel
from pytest_k8s_netem.controller.traffic import TrafficController
from pytest_k8s_netem.run.events import Committed, Event


class SocketChannels:
    """Implements Channels: a unix socket for each pod, one session each, as pods/exec would give."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, StreamChannel] = {}

    async def open(self, pod: dict[str, Any]) -> StreamChannel:
        name = pod["metadata"]["name"]
        if name not in self._open or self._open[name].closed:
            streams = await asyncio.open_unix_connection(self._folder / name.removeprefix("pod-"))
            self._open[name] = StreamChannel(SocketStream(*streams), name)
        return self._open[name]

    async def guest(self, pod: dict[str, Any]) -> None:
        return None

    def target(self, pod: dict[str, Any]) -> str:
        return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"

    def lease(self, pod: dict[str, Any]) -> float:
        return LEASE


async def main(kubeconfig: str, folder: Path) -> None:
    def tell(event: Event) -> None:
        if isinstance(event, Committed):
            sys.stdout.write(f"{len(event.pods)}\n")
            sys.stdout.flush()

    runtime = Runtime(KubernetesApi(partial(Connection.from_kubeconfig, kubeconfig)))
    TrafficController(runtime, SocketChannels(folder), identity="crowd", emit=tell)
    await runtime.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
