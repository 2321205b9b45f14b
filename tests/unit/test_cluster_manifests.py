"""Manifests as users hand them over: what cannot be read is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_k8s_netem.cluster import manifests
from pytest_k8s_netem.errors import ConfigError


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "wan.yaml"
    path.write_bytes(b"kind: \xff\xfe")
    with pytest.raises(ConfigError, match=rf"{path} is not YAML: not text in UTF-8"):
        manifests.load(path)
