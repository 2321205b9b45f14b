"""The one importer of the ``kubernetes`` client: where the API server is, who we are, and pooled connections to it.

Of the client it uses what speaks to clusters of all kinds (kubeconfig, exec plugins, tokens, proxies, TLS), not its
models: answers stay as they came. What it touches is the same in releases 36 and 37.
"""

from __future__ import annotations

import json
import re
import ssl
from contextlib import suppress
from urllib.parse import urlencode

from pytest_k8s_netem.api.kubeconfigs import Unusable, choose, location
from pytest_k8s_netem.api.refusals import refusal, unreachable
from pytest_k8s_netem.errors import ApiError, ProviderError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from urllib3 import BaseHTTPResponse

CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 30.0
"""For each part of an answer; the API server itself gives up after 60 s."""
POOL = 64
"""Connections that are kept: all requests at once and a watch of each kind."""
MERGE_PATCH, APPLY_PATCH = "application/merge-patch+json", "application/apply-patch+yaml"


class Connection:
    """An API server and our credentials; made by :meth:`from_kubeconfig` or :meth:`in_cluster`. Thread-safe.

    :ivar host: ``https://address:port``, without a slash at its end.
    :ivar context: name of the kubeconfig's context, "" in a cluster.
    :ivar cluster: as that context calls it. :ivar namespace: of that context, "" = it has none.
    """

    def __init__(self, configuration: Any, context: str = "", cluster: str = "", namespace: str = "") -> None:
        from kubernetes.client.rest import RESTClientObject

        configuration.connection_pool_maxsize = POOL
        self._configuration = configuration
        self._pools = RESTClientObject(configuration).pool_manager
        self.host = str(configuration.host).rstrip("/")
        self.context, self.cluster, self.namespace = context, cluster, namespace

    @classmethod
    def from_kubeconfig(cls, path: str | None = None, context: str | None = None) -> Connection:
        """Of a kubeconfig file (None: KUBECONFIG or ~/.kube/config) and one of its contexts (None: the current one).

        :raises ProviderError: if it cannot be used.
        """
        from kubernetes import client, config
        from yaml import YAMLError

        named = f"{path or 'the default kubeconfig'}{f', context {context}' if context else ''}"
        try:
            chosen = choose(path, context)
        except Unusable as error:
            raise ProviderError(f"{named} {error}") from None
        configuration = client.Configuration()
        load: Any = config.load_kube_config  # the client has no types
        try:
            load(location(path), chosen.context, configuration, persist_config=False)
        except (config.ConfigException, OSError, ValueError, TypeError, KeyError, AttributeError, YAMLError) as error:
            why = f"the Kubernetes client refuses its user or cluster ({type(error).__name__})"
            raise ProviderError(f"{named} cannot be used: {why}; kubectl says more") from None
        return cls(configuration, chosen.context, chosen.cluster, chosen.namespace)

    @classmethod
    def in_cluster(cls) -> Connection:
        """Of the pod that this process runs in, by its service account.

        :raises ProviderError: if it runs in none.
        """
        from kubernetes import client, config

        configuration = client.Configuration()
        try:
            load: Any = config.load_incluster_config
            load(configuration)
        except config.ConfigException as error:
            raise ProviderError(f"not in a cluster: {error}") from None
        return cls(configuration)

    def headers(self) -> dict[str, str]:
        """The credentials that travel as headers, renewed if they were about to expire."""
        settings = self._configuration.auth_settings().values()
        found = {each["key"]: each["value"] for each in settings if each["in"] == "header" and each["value"]}
        # Clients 36.0.0 and some after it load a token under a name that their settings do not look for.
        token = None if found else self._configuration.get_api_key_with_prefix("authorization")
        return {"authorization": token} if token else found

    def tls(self) -> ssl.SSLContext | None:
        """What a connection of another library needs; None for plain HTTP."""
        if not self.host.startswith("https:"):
            return None
        said = self._configuration
        context = ssl.create_default_context(cafile=said.ssl_ca_cert, cadata=getattr(said, "ca_cert_data", None))
        if said.assert_hostname is False or not said.verify_ssl:
            context.check_hostname = False
        if not said.verify_ssl:
            context.verify_mode = ssl.CERT_NONE
        if said.cert_file:
            context.load_cert_chain(said.cert_file, said.key_file)
        return context

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        """The decoded JSON of an answer.

        :raises ApiError: with the server's status, or 0: Unreachable, or Unanswered if it may have heard of it.
        """
        return json.loads(self._answer(method, path, query, body=body, content_type=content_type))

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """An answer that is text, bad bytes replaced.

        :raises ApiError: as :meth:`request`.
        """
        return self._answer("GET", path, query, accept="*/*").decode(errors="replace")

    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        *,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> bytes:
        import urllib3

        from pytest_k8s_netem.api.again import Again

        headers = {"Accept": accept, "Content-Type": content_type, **self.headers()}
        content = None if body is None else json.dumps(body).encode()
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=REQUEST_SECONDS)
        try:
            answer = self._pools.request(
                method, self._url(path, query), body=content, headers=headers, timeout=timeout, retries=Again.usual()
            )
        except urllib3.exceptions.HTTPError as error:
            cause = getattr(error, "reason", None) or error
            unsaid = (urllib3.exceptions.ConnectTimeoutError, urllib3.exceptions.NewConnectionError)
            raise unreachable(self.host, error, heard=not isinstance(cause, unsaid)) from None
        if not 200 <= answer.status < 300:
            raise refusal(answer.status, answer.data)
        return bytes(answer.data)

    def stream(self, path: str, query: Mapping[str, str], silence: float) -> Stream:
        """An answer that comes line by line and may be silent for as many seconds.

        :raises ApiError: as :meth:`request`.
        """
        import urllib3

        headers = {"Accept": "application/json", **self.headers()}
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=silence)
        try:
            answer = self._pools.request(
                "GET", self._url(path, query), headers=headers, timeout=timeout, preload_content=False
            )
            if answer.status != 200:
                raise refusal(answer.status, answer.read())
        except urllib3.exceptions.HTTPError as error:
            raise unreachable(self.host, error) from None
        return Stream(answer)

    def version(self) -> tuple[int, int]:
        """Of Kubernetes, as the server says: (1, 34); (0, 0) = it does not say.

        :raises ApiError: if it does not answer.
        """
        try:
            said = self.request("GET", "/version")
        except ApiError as error:
            if error.status in (401, 403):
                return 0, 0
            raise
        found = re.match(r"v(\d+)\.(\d+)", str(said.get("gitVersion", "")))
        return (int(found[1]), int(found[2])) if found else (0, 0)

    def close(self) -> None:
        """Close what is idle; streams end when they are closed themselves."""
        self._pools.clear()

    def _url(self, path: str, query: Mapping[str, str] | None) -> str:
        return f"{self.host}{path}{'?' + urlencode(query) if query else ''}"


class Stream:
    """Lines of an answer that goes on; read by one thread, closed by any."""

    def __init__(self, answer: BaseHTTPResponse) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        """Each line as it comes; ends when the server ends it, breaks off or stays silent for too long."""
        import urllib3

        rest = b""
        with suppress(urllib3.exceptions.HTTPError):
            for chunk in self._answer.stream(None):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines

    def close(self) -> None:
        """Wake the reader and give the connection up."""
        with suppress(Exception):  # it may be closed already, or at this moment
            self._answer.shutdown()  # interrupts a read in another thread
        self._answer.close()
