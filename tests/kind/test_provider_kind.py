"""The suite of every provider, on provider ``kind``: in the cluster that the other tests of this lane use."""

from __future__ import annotations

from typing import Any

import pytest
from provider_conformance import *  # noqa: F403 - pytest collects what is imported
from provider_conformance import IMAGE


@pytest.fixture(scope="module")
def session(_netem_session: Any) -> Any:
    _netem_session.cluster.load_image(IMAGE)
    return _netem_session
