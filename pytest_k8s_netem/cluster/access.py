"""What the user of a kubeconfig may do in a cluster, and what follows from it for a controller in this process."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_k8s_netem.api.protocol import NAMESPACES, PODS
from pytest_k8s_netem.api.rights import Right, answers, missing, told
from pytest_k8s_netem.controller.world import TABLES
from pytest_k8s_netem.errors import ApiError, ProviderError
from pytest_k8s_netem.resolve.view import ANY, View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_k8s_netem.api.protocol import Api, Kind

NEEDED = (
    ("pods", ("get", "list", "watch")),
    ("pods/exec", ("get", "create")),
    ("pods/ephemeralcontainers", ("patch",)),
)
"""All that impairing pods takes where nothing is installed; fixtures/rights/in-process.yaml is the Role.

A websocket begins as a GET, and API servers from 1.35 on ask for create as well.
"""
READ = ("list", "watch")


@dataclass
class Access:
    """What was found out.

    :ivar home: the namespace to work in. :ivar scopes: by kind that is not read everywhere, the namespaces where it is.
    :ivar makes_namespaces: whether tests can have namespaces of their own.
    :ivar view: the same as the controller's rounds need it.
    """

    home: str
    scopes: dict[Kind, tuple[str, ...]] = field(default_factory=dict)
    makes_namespaces: bool = False
    view: View = field(default_factory=View)

    def limits(self, *, in_process: bool = True) -> list[str]:
        """What cannot be promised, a sentence each.

        :param in_process: whether the controller has but the same rights.
        """
        lacking = self.view.lacking
        found = []
        if not self.makes_namespaces:
            found.append(f"netem_namespace is {self.home}: making others takes {told(_making())}")
        if not in_process:
            return found
        if self.view.namespaces is not None:
            found.append(f"pods are seen in namespace {' and '.join(sorted(self.view.namespaces))} only")
        if right := lacking.get("nodes"):
            found.append(f"of a pod's node only the address that the pod itself names is spared: more takes {right}")
        if right := lacking.get("services"):
            found.append(f"ClusterIPs are unknown, the API server's too: to know them takes {right}")
        return found


def needed(namespace: str) -> list[Right]:
    """:data:`NEEDED` in a namespace, "" = in all."""
    parted = ((resource.partition("/")[2], verbs) for resource, verbs in NEEDED)
    return [Right(verb, PODS, subresource, namespace) for subresource, verbs in parted for verb in verbs]


async def explore(api: Api, home: str, allowed: Iterable[str]) -> Access:
    """Find out what we may do: by asking the API server, or by trying where it does not say.

    :param allowed: namespaces that the user gives leave to impair.
    :raises ProviderError: if it is not enough to impair pods in ``home``, naming what is missing.
    :raises ApiError: if the API server does not answer.
    """
    named = frozenset(allowed)
    access = Access(home)
    asks = await answers(api)
    everywhere = asks and not await missing(api, needed(""))
    if asks and not everywhere and (lacking := await missing(api, needed(home))):
        raise _not_enough(home, told(lacking))
    reads = _asked if asks else _tried
    for kind in TABLES.values():
        if not await reads(api, kind, ""):
            places = [home, *sorted(named - {home, ANY})] if kind.namespaced else []
            access.scopes[kind] = tuple([place for place in places if await reads(api, kind, place)])
    seen = access.scopes.get(PODS, (home,))
    if home not in seen:
        raise _not_enough(home, _reading(PODS, home))
    closed = {table: _reading(kind, home) for table, kind in TABLES.items() if access.scopes.get(kind) == ()}
    limited = frozenset(seen) if PODS in access.scopes else None
    access.view = View(limited, closed, named, injects=True)
    access.makes_namespaces = everywhere and not await missing(api, _making())
    return access


def _not_enough(home: str, rights: str) -> ProviderError:
    return ProviderError(
        f"in namespace {home} this takes {rights}: bind the user to the Role in docs/how-to/use-a-cluster.md, "
        "or choose another namespace with --netem-namespace"
    )


async def _asked(api: Api, kind: Kind, namespace: str) -> bool:
    return not await missing(api, [Right(verb, kind, "", namespace) for verb in READ])


async def _tried(api: Api, kind: Kind, namespace: str) -> bool:
    try:
        await api.list(kind, namespace)
    except ApiError as error:
        if error.status == 403:
            return False
        raise
    return True


def _reading(kind: Kind, home: str) -> str:
    return told(Right(verb, kind, "", home if kind.namespaced else "") for verb in READ)


def _making() -> list[Right]:
    return [Right("create", NAMESPACES), Right("delete", NAMESPACES)]
