"""The command ``netem`` itself, whatever it is asked to do."""

from __future__ import annotations

import importlib.metadata

import pytest

from pytest_k8s_netem import cli


def test_it_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"pytest-k8s-netem {importlib.metadata.version('pytest-k8s-netem')}\n"


def test_no_other_command_reads_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise AssertionError(f"the version of {name} was read")

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(SystemExit) as ended:
        cli.main(["sweep", "--help"])
    assert ended.value.code == 0
    assert "usage: netem sweep" in capsys.readouterr().out
