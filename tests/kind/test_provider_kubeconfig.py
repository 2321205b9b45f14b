"""The suite of every provider, on provider ``kubeconfig``: the lane's cluster, but with the controller here."""

from __future__ import annotations

from typing import Any

import pytest
from provider_conformance import *  # noqa: F403 - pytest collects what is imported

from pytest_k8s_netem.cluster.session import Choices


@pytest.fixture(scope="module")
def choices(netem_cluster: Any) -> Choices:
    provider = netem_cluster._provider
    return Choices(
        provider="kubeconfig",
        kubeconfig=str(provider.kubeconfig),
        agent_image=provider.agent_image,
        controller="process",
    )
