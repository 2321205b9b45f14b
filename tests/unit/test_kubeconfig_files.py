"""Kubeconfigs that cannot be used: one clear error, whatever is in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_k8s_netem.api.connection import Connection
from pytest_k8s_netem.api.kubeconfigs import reason
from pytest_k8s_netem.errors import ProviderError


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("contexts: [a", "is no YAML: while parsing"),
        ("\tcontexts:", "is no YAML: while scanning"),
        ("see the wiki", "is no kubeconfig: "),
        ("- contexts\n- users\n", "is no kubeconfig: "),
        ("current-context: one\ncontexts: 7\n", "is no kubeconfig: "),
        ("current-context: one\ncontexts:\n- name: one\n", "names no cluster: "),
        ("current-context: one\ncontexts:\n- context: {cluster: one}\n", "names no cluster: "),
        ("", "names no cluster: "),
        ("\0", "is no YAML: "),
    ],
)
def test_a_file_that_is_no_kubeconfig(text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    for context in (None, "one"):
        with pytest.raises(ProviderError) as caught:
            Connection.from_kubeconfig(str(file), context)
        assert str(caught.value).startswith(f"{file}{', context one' if context else ''} {why}")


def test_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="nothing names no cluster: it is empty, or not there"):
        Connection.from_kubeconfig(str(tmp_path / "nothing"))


def test_a_context_that_it_has_not(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("""
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {}}]
contexts: [{name: here, context: {cluster: c, user: u}}, {name: there, context: {cluster: c, user: u}}]
current-context: here
""")
    with pytest.raises(ProviderError, match="names no cluster: it has no context of that name; there are: here, there"):
        Connection.from_kubeconfig(str(file), "nowhere")
    assert Connection.from_kubeconfig(str(file), "there").context == "there"


def test_nobody_has_named_one() -> None:
    told = reason(None, None, (), ValueError("Invalid kube-config file. No configuration found."))
    assert told.startswith("there is none in ~/.kube/config; name a file by KUBECONFIG or --netem-kubeconfig")
