"""Keeps the webhooks' certificates: in a Secret, in the server's TLS context, and their CA in both configurations."""

from __future__ import annotations

import asyncio
import logging
import ssl
import tempfile
from base64 import b64encode
from pathlib import Path

from pytest_k8s_netem.api.protocol import MUTATING_WEBHOOKS, SECRETS, VALIDATING_WEBHOOKS
from pytest_k8s_netem.errors import ApiError
from pytest_k8s_netem.kube.certificates import CA, Certificates, good, renewed
from pytest_k8s_netem.kube.install.names import CERTIFICATES, WEBHOOKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_k8s_netem.api.protocol import Api, Kind, Object

EVERY = 10.0
"""Seconds between two looks at the Secret and the configurations, which anybody may change."""
SOON = 1.0
"""The same while something is missing."""
TRUSTED_WITHIN = 5.0
"""Seconds that API servers have to learn of a new CA before a certificate of it is shown; 0.1 are usual."""

_log = logging.getLogger(__name__)


class Rotation:
    """One process's part; several share a Secret, and whoever writes first decides.

    :ivar tls: for a server; its certificate changes while the server runs.
    :ivar unready: what is missing for the webhooks to be called a first time, "" = nothing.
    :param names: DNS names and addresses under which the API server calls.
    """

    def __init__(self, api: Api, namespace: str, names: Sequence[str], configuration: str = WEBHOOKS) -> None:
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.unready = "there is no certificate yet"
        self._api, self._namespace, self._names, self._configuration = api, namespace, tuple(names), configuration
        self._shown: Certificates | None = None

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self.look()
                again = EVERY
            except ApiError as error:
                again = SOON
                _log.warning("certificates: %s", error)
            await asyncio.sleep(again)

    async def look(self) -> None:
        """Bring everything to where it should be.

        :raises ApiError: if the API server refuses, or the Secret or a configuration is not there.
        """
        current = await self._agreed()
        try:
            changed = [await self._trust(kind, current.trusted) for kind in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS)]
            if self._shown is not None and good(self._shown) and any(changed) and current != self._shown:
                await asyncio.sleep(TRUSTED_WITHIN)
        finally:
            self._show(current)
        self.unready = ""

    async def _agreed(self) -> Certificates:
        """The Secret's certificates, renewed if they are due."""
        secret = await self._api.get(SECRETS, CERTIFICATES, self._namespace)
        old = Certificates.of_data(secret.get("data"))
        new = renewed(old, self._names)
        if new == old:
            return new
        version = secret["metadata"]["resourceVersion"]
        patch: Object = {"metadata": {"resourceVersion": version}, "data": new.to_data()}
        try:
            await self._api.patch(SECRETS, CERTIFICATES, patch, self._namespace)
        except ApiError as error:
            if error.status != 409:
                raise
            return await self._agreed()
        _log.info("certificates: %s", "made" if old is None else "renewed")
        return new

    async def _trust(self, kind: Kind, trusted: bytes) -> bool:
        """Put the CA into a configuration; whether that was needed."""
        found = await self._api.get(kind, self._configuration)
        bundle = b64encode(trusted).decode()
        hooks = found.get("webhooks") or []
        if all(hook["clientConfig"].get("caBundle") == bundle for hook in hooks):
            return False
        wanted = [{**hook, "clientConfig": {**hook["clientConfig"], "caBundle": bundle}} for hook in hooks]
        version = found["metadata"]["resourceVersion"]
        patch: Object = {"metadata": {"resourceVersion": version}, "webhooks": wanted}
        await self._api.patch(kind, self._configuration, patch)
        _log.info("%s %s trusts %s of Secret %s", kind.name, self._configuration, CA, CERTIFICATES)
        return True

    def _show(self, certificates: Certificates) -> None:
        """From the next connection on; ssl reads certificates from files only."""
        if certificates == self._shown:
            return
        with tempfile.TemporaryDirectory() as folder:
            chain = Path(folder, "chain.pem")
            chain.touch(0o600)
            chain.write_bytes(certificates.chain + certificates.key)
            self.tls.load_cert_chain(chain)
        self._shown = certificates
