"""A Kubernetes API server and its etcd as two plain programs on this machine, which die with the run.

Found as Kubernetes' own test tools find them: in the folder that ``KUBEBUILDER_ASSETS`` names, in
``/usr/local/kubebuilder/bin``, or on PATH.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import subprocess
from functools import partial
from pathlib import Path

from pytest_k8s_netem.api.connection import Connection
from pytest_k8s_netem.api.kubernetes import KubernetesApi
from pytest_k8s_netem.api.protocol import NAMESPACES
from pytest_k8s_netem.errors import ApiError, ProviderError
from pytest_k8s_netem.run import dying
from pytest_k8s_netem.run.retry import attempts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ASSETS, USUAL = "KUBEBUILDER_ASSETS", Path("/usr/local/kubebuilder/bin")
PROGRAMS = ("etcd", "kube-apiserver")
START_SECONDS = 60.0
"""A start takes 2 to 3 s; a loaded machine may need several times that."""
_END_SECONDS = 5.0
_SOCKET_PATH = 100
"""Bytes of a unix socket's path that surely fit (sun_path of unix(7) has 108)."""
_TRIES = 3
"""A port that was free may be taken by somebody else before the API server binds it."""
_IN_USE = "address already in use"


class ControlPlane:
    """etcd on a unix socket, kube-apiserver on a free port of 127.0.0.1, both with their state in one directory.

    :ivar kubeconfig: file with an administrator's token. :ivar api: the server behind it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.kubeconfig = directory / "kubeconfig"
        self.api = KubernetesApi(partial(Connection.from_kubeconfig, str(self.kubeconfig)))
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    async def start(self) -> None:
        """Start both and wait until the server serves; call it from a thread that outlives them.

        :raises ProviderError: if a program is missing or does not start, with the end of its log.
        """
        programs = {name: program(name) for name in PROGRAMS}
        self.directory.mkdir(parents=True, mode=0o700, exist_ok=True)
        store = self.directory / "etcd.sock"
        if len(os.fsencode(store)) > _SOCKET_PATH:
            raise ProviderError(f"{store} is too long for a socket's path; set TMPDIR to a shorter one")
        token = secrets.token_hex(16)
        _write(self.directory / "tokens.csv", f"{token},admin,admin,system:masters\n")
        self._spawn("etcd", [programs["etcd"], *_etcd(self.directory, store)])
        for tries in range(1, _TRIES + 1):
            port = _free_port()
            _write(self.kubeconfig, json.dumps(_kubeconfig(self.directory, port, token)))
            self._spawn("kube-apiserver", [programs["kube-apiserver"], *_server(self.directory, store, port)])
            try:
                await self._serving()
                return
            except ProviderError as error:
                if _IN_USE not in str(error) or tries == _TRIES:
                    raise

    async def stop(self) -> None:
        """End both; their directory stays."""
        await self.api.close()
        for child in self._children.values():
            child.kill()  # the state goes with the run, so nothing is to be saved
        for child in self._children.values():
            await asyncio.to_thread(child.wait, _END_SECONDS)
        self._children.clear()

    def lost(self) -> str:
        """Which of them ended although nobody stopped it, with the end of its log; "" while both live."""
        for name, child in self._children.items():
            if (status := child.poll()) is not None:
                return f"{name} ended with status {status}:\n{self._tail(name)}"
        return ""

    async def _serving(self) -> None:
        """Until the namespace ``default`` is there, which comes after all that is needed to make objects."""
        try:
            async for attempt in attempts(START_SECONDS, ApiError, ProviderError, most=0.1):
                with attempt:
                    if said := self.lost():
                        raise _Ended(said)
                    await self.api.get(NAMESPACES, "default")
        except _Ended as error:
            raise ProviderError(str(error)) from None
        except (ApiError, ProviderError) as error:
            said = self._tail("kube-apiserver")
            raise ProviderError(f"kube-apiserver does not serve after {START_SECONDS:g} s: {error}\n{said}") from None

    def _tail(self, name: str) -> str:
        lines = (self.directory / f"{name}.log").read_text(errors="replace").splitlines()[-12:]
        return "\n".join(f"  | {line}" for line in lines)

    def _spawn(self, name: str, argv: Sequence[str]) -> None:
        with (self.directory / f"{name}.log").open("wb") as log:
            self._children[name] = subprocess.Popen(
                dying.command(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,  # Ctrl-C is for the test; teardown still needs the server
            )


class _Ended(Exception):
    """A program ended, so that waiting for it is in vain."""


def program(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """The path of one of Kubernetes' programs.

    :raises ProviderError: if it is nowhere, with the way to get it.
    """
    folders = [Path(environ[ASSETS])] if environ.get(ASSETS) else [USUAL]
    found = next((str(folder / name) for folder in folders if os.access(folder / name, os.X_OK)), shutil.which(name))
    if found is None:
        raise ProviderError(
            f"no {name} in {folders[0]} nor on PATH. Set {ASSETS} to a folder with {' and '.join(PROGRAMS)}; "
            "setup-envtest gets them: go run sigs.k8s.io/controller-runtime/tools/setup-envtest@latest use -p path"
        )
    return found


def _etcd(directory: Path, store: Path) -> list[str]:
    """One member that talks to nobody: the addresses it advertises are never used. See etcd --help."""
    nowhere = "http://localhost:1"
    return [
        "--name=run",
        f"--data-dir={directory / 'etcd'}",
        "--unsafe-no-fsync",
        "--log-level=warn",
        f"--listen-client-urls=unix://{store}",
        f"--listen-peer-urls=unix://{directory / 'peer.sock'}",
        f"--advertise-client-urls={nowhere}",
        f"--initial-advertise-peer-urls={nowhere}",
        f"--initial-cluster=run={nowhere}",
    ]


def _server(directory: Path, store: Path, port: int) -> list[str]:
    """See kube-apiserver --help. It makes its own certificate, whose key signs service accounts' tokens as well."""
    certificates = directory / "certificates"
    key = certificates / "apiserver.key"
    return [
        f"--etcd-servers=unix://{store}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={certificates}",
        f"--token-auth-file={directory / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        "--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={key}",
        f"--service-account-key-file={key}",
        # No controller manager gives namespaces their account, nor takes nodes' taint of being new.
        "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
    ]


def _kubeconfig(directory: Path, port: int, token: str) -> dict[str, object]:
    server = {
        "server": f"https://127.0.0.1:{port}",
        "certificate-authority": str(directory / "certificates" / "apiserver.crt"),
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "netem", "cluster": server}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "netem", "context": {"cluster": "netem", "user": "admin"}}],
        "current-context": "netem",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
