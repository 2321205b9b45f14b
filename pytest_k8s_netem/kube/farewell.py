"""The chart's farewell: ``python3 -m pytest_k8s_netem.kube.farewell`` in a pod, before Helm deletes the controller."""

from __future__ import annotations

import asyncio
import os
import sys

from pytest_k8s_netem.api.connection import Connection
from pytest_k8s_netem.api.kubernetes import KubernetesApi
from pytest_k8s_netem.errors import NetemError
from pytest_k8s_netem.kube.install.remove import healed


async def main() -> int:
    """Delete all TrafficProfiles and wait for their healing; 1 if the API server refuses."""
    try:
        names = await healed(KubernetesApi(Connection.in_cluster))
    except NetemError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(f"healed: {', '.join(names) or 'nothing was impaired'}\n")
    return 0


if __name__ == "__main__":
    status = asyncio.run(main())
    sys.stderr.flush()
    os._exit(status)
