"""Kubeconfigs that cannot be used: one clear error in our own words, whatever is in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_k8s_netem.api.connection import Connection
from pytest_k8s_netem.errors import ProviderError

SECRET = "s3cr3t"
CLUSTERS = 'clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]\n'
USERS = f"users: [{{name: u, user: {{token: {SECRET}}}}}]\n"
CONTEXTS = "contexts: [{name: one, context: {cluster: c, user: u, namespace: shop}}]\ncurrent-context: one\n"
WHOLE = CLUSTERS + USERS + CONTEXTS


def refused(file: Path, context: str | None = None) -> str:
    """What is said of it, after its name."""
    with pytest.raises(ProviderError) as caught:
        Connection.from_kubeconfig(str(file), context)
    told = str(caught.value)
    assert SECRET not in told
    for words in ("object", "Expected", "attribute", "codec", "Errno"):
        assert words not in told, "the client's or Python's own words"
    begin = f"{file}{f', context {context}' if context else ''} "
    assert told.startswith(begin)
    return told.removeprefix(begin)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config"


def test_a_whole_one_is_taken(file: Path) -> None:
    file.write_text(WHOLE)
    for context in (None, "one"):
        found = Connection.from_kubeconfig(str(file), context)
        assert (found.context, found.cluster, found.namespace) == ("one", "c", "shop")
        assert found.headers() == {"authorization": f"Bearer {SECRET}"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("contexts: [a", "is no YAML: while parsing"),
        ("\tcontexts:", "is no YAML: while scanning"),
        (f"users:\n- token: {SECRET}: x\n", "is no YAML: mapping values"),
        ("\0", "is no YAML: "),
        ("see the wiki", "is no kubeconfig: it is a text, not a mapping with clusters, users, contexts"),
        ("- contexts\n- users\n", "is no kubeconfig: it is a list, not a mapping"),
        (f"contexts: 7\nusers: [{{user: {{token: {SECRET}}}}}]\n", "is no kubeconfig: `users` is a list of entries"),
        ("current-context: one\ncontexts: 7\n", "is no kubeconfig: `contexts` is a list of entries with `name`"),
        (CLUSTERS + f"users: [{{name: u, user: {SECRET}}}]\n", "is no kubeconfig: `users` is a list of entries"),
        ("current-context: one\ncontexts:\n- name: one\n", "is no kubeconfig: `contexts` is a list of entries"),
        ("contexts:\n- context: {cluster: one}\n", "is no kubeconfig: `contexts` is a list of entries"),
        ("current-context: [one]\n", "is no kubeconfig: `current-context` is a list, not a text"),
        ("", "names no cluster: it is empty, or not there"),
        (USERS + CONTEXTS, "cannot be used: its context one names the cluster c; there is none"),
        (CLUSTERS + CONTEXTS, "cannot be used: its context one names the user u; there is none"),
        (
            WHOLE.replace("cluster: c,", "cluster: d,"),
            "cannot be used: its context one names the cluster d; there are: c",
        ),
        (WHOLE.replace("cluster: c,", ""), "names no cluster: its context one has no `cluster`; there are: c"),
        (WHOLE.replace("https://127.0.0.1:1", ""), "names no cluster: its cluster c has no `server`; right would be"),
        (WHOLE.replace("https://", ""), "names no cluster: `server` of its cluster c is 127.0.0.1:1; right would be"),
        (WHOLE.replace("0.1:1", "0.1:api"), "names no cluster: `server` of its cluster c is https://127.0.0.1:api; "),
        (WHOLE.replace("https://127.0.0.1", "https://[::1"), "names no cluster: `server` of its cluster c is "),
        (WHOLE.replace('"https://127.0.0.1:1"', "7"), "names no cluster: `server` of its cluster c is 7; right"),
        (WHOLE.replace(f"token: {SECRET}", "client-key: no.key"), "cannot be used: `client-key` of its user u names "),
        (WHOLE.replace(f"token: {SECRET}", "tokenFile: /no"), "cannot be used: `tokenFile` of its user u names /no, "),
        (WHOLE.replace(f"token: {SECRET}", "client-key-data: 7"), "cannot be used: `client-key-data` of its user u is"),
        (WHOLE.replace(f"token: {SECRET}", "exec: x"), "cannot be used: `exec` of its user u names no `command`"),
        (
            WHOLE.replace(f"token: {SECRET}", "exec: {command: no-such-program}"),
            "cannot be used: `exec` of its user u needs the program no-such-program, which is not installed here",
        ),
        (WHOLE.replace("server", "certificate-authority-data: a, server"), "cannot be used: `certificate-authority-d"),
        (
            WHOLE.replace("server", "certificate-authority: no.crt, server"),
            "cannot be used: `certificate-authority` of",
        ),
        (
            WHOLE.replace(f"token: {SECRET}", "auth-provider: {name: gcp}"),
            "cannot be used: the Kubernetes client refuses its user or cluster",
        ),
    ],
)
def test_a_file_that_is_no_kubeconfig(text: str, why: str, file: Path) -> None:
    file.write_text(text)
    for context in (None, "one"):
        assert refused(file, context).startswith(why)


def test_what_cannot_be_read_as_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00\x01")
    assert refused(file) == "is no YAML: it is no text in UTF-8"
    assert refused(file.parent) == "cannot be read: Is a directory"


def test_there_is_no_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "nothing") == "names no cluster: it is empty, or not there"


def test_a_context_that_it_has_not(file: Path) -> None:
    file.write_text(
        CLUSTERS
        + USERS
        + "contexts: [{name: here, context: {cluster: c, user: u}}, {name: there, context: {cluster: c, user: u}}]\n"
    )
    assert refused(file, "nowhere") == "names no cluster: it has no context of that name; there are: here, there"
    assert refused(file) == "names no cluster: it has no current-context; name a context, there are: here, there"
    assert Connection.from_kubeconfig(str(file), "there").context == "there"
    file.write_text(file.read_text() + "current-context: elsewhere\n")
    assert refused(file).startswith("names no cluster: its current-context elsewhere is no context of it; there are:")


def test_several_files_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries of the first, the current context of the last, and what is wrong with one of them by its name."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(CLUSTERS + CONTEXTS)
    second.write_text(USERS + CONTEXTS.replace("one", "two"))
    monkeypatch.setenv("KUBECONFIG", f"{first}:{tmp_path / 'none'}:{second}")
    assert Connection.from_kubeconfig().context == "two"
    assert Connection.from_kubeconfig(None, "one").headers() == {"authorization": f"Bearer {SECRET}"}
    second.write_text("users: 7")
    with pytest.raises(ProviderError, match=f"the default kubeconfig is no kubeconfig: {second}: `users` is a list"):
        Connection.from_kubeconfig()


def test_nobody_has_named_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    where = r"there is none in ~/\.kube/config; name a file by KUBECONFIG or --netem-kubeconfig"
    with pytest.raises(ProviderError, match=f"the default kubeconfig names no cluster: {where}"):
        Connection.from_kubeconfig()
    monkeypatch.setenv("KUBECONFIG", "/no/such")
    with pytest.raises(ProviderError, match="KUBECONFIG names /no/such, which is not there"):
        Connection.from_kubeconfig()
