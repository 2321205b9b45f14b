"""The suite of every provider, on provider ``kind``: in the cluster that the other tests of this lane use."""

from __future__ import annotations

from typing import Any

import pytest
from provider_conformance import (  # noqa: F401 - pytest collects what is imported
    IMAGE,
    TestDeployments,
    TestImpairing,
    TestNamespaces,
    TestObjects,
    TestTrafficProfiles,
    TestWaysIn,
    namespace,
    shop,
)


@pytest.fixture(scope="module")
def session(_netem_session: Any) -> Any:
    _netem_session.cluster.load_image(IMAGE)
    return _netem_session
