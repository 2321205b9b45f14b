"""The suite of every provider, on provider ``local``."""

from __future__ import annotations

import pytest
from provider_conformance import *  # noqa: F403 - pytest collects what is imported

from pytest_k8s_netem.cluster.session import Choices

pytestmark = pytest.mark.needs("netns")


@pytest.fixture(scope="module")
def choices() -> Choices:
    return Choices(provider="local")
