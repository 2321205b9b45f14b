"""The TrafficProfile, as every dialect (ours, k8s-netem's, a marker) ends up: typed, complete, validated."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.model.timeline import Timeline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Operator(str, Enum):
    """Of a label requirement, as in Kubernetes."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One label requirement."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Requirements, all of which must hold; none = everything."""

    requirements: tuple[Requirement, ...] = ()

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels satisfy every requirement (NotIn and DoesNotExist hold for an absent key)."""
        return all(_holds(requirement, labels) for requirement in self.requirements)


def _holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case Operator.IN:
            return value in requirement.values
        case Operator.NOT_IN:
            return value not in requirement.values
        case Operator.EXISTS:
            return value is not None
        case Operator.DOES_NOT_EXIST:
            return value is None


class RefKind(str, Enum):
    """What a named reference names."""

    POD = "pod"
    SERVICE = "svc"
    DEPLOYMENT = "deploy"
    NODE = "node"
    CONTAINER = "container"
    FQDN = "fqdn"


@dataclass(frozen=True, slots=True)
class Ref:
    """A thing by name: ``pod/web-0``, ``svc/db``, ``deploy/web``, ``container/redis``, ``fqdn:example.org`` ..."""

    kind: RefKind
    name: str


@dataclass(frozen=True, slots=True)
class Block:
    """An address block without some of its parts: (family 4 or 6, address, prefix length)."""

    network: tuple[int, int, int]
    exceptions: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Pods (or, as a peer, other remotes too): the union of its parts, minus ``exceptions``.

    :ivar namespaces: selects namespaces by labels; with :attr:`names` both must hold; None = any of ``names``.
    :ivar names: namespaces by name; empty = all that ``namespaces`` takes.
    """

    selectors: tuple[LabelSelector, ...] = ()
    refs: tuple[Ref, ...] = ()
    blocks: tuple[Block, ...] = ()
    names: tuple[str, ...] = ()
    namespaces: LabelSelector | None = None
    exceptions: tuple[Selection, ...] = ()


@dataclass(frozen=True, slots=True)
class Port:
    """Ports of one protocol.

    :ivar protocol: IP protocol number. :ivar ports: numbers; None = all.
    :ivar name: a named port of the peer's pods, or "".
    :ivar side: ``either`` end of the conversation, ``remote`` or ``local``.
    """

    protocol: int
    ports: Ranges | None = None
    name: str = ""
    side: str = "either"


@dataclass(frozen=True, slots=True)
class Rule:
    """Which packets of a side: every field must take the packet.

    :ivar ether_types: None = IPv4 and IPv6. :ivar protocols: IP protocol numbers, None = any.
    :ivar peers: union of remotes; None = any remote; () = none at all (k8s-netem's empty peer).
    :ivar ports: union; None = any.
    """

    ether_types: Ranges | None = None
    protocols: Ranges | None = None
    peers: tuple[Selection, ...] | None = None
    ports: tuple[Port, ...] | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """What is done in one direction: to packets that any of the rules takes."""

    rules: tuple[Rule, ...]
    timeline: Timeline


@dataclass(frozen=True, slots=True)
class Script:
    """k8s-netem's type Script: an executable that gets a JSON document; ``parameters`` are handed on verbatim."""

    parameters: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrafficProfile:
    """Who, which way, which packets, which timeline.

    :ivar order: where it stands among profiles that take the same packet: ascending (see :func:`sort_key`).
    :ivar pods: whose interfaces are touched.
    :ivar count: number, share (0..1 float) or None = all of them, drawn by ``seed``.
    :ivar interface: regular expression, anchored at the start; "" = the interface of the default route.
    :ivar egress: None = nothing is done to what the pods send. :ivar ingress: likewise for what they receive.
    :ivar duration: seconds after which it ends by itself; None = never.
    :ivar lease: namespace/name of its Lease, or "".
    :ivar engine: ``auto``, ``kernel`` or ``userspace``. :ivar verify: ``probe``, ``read-back`` or ``none``.
    :ivar follow: ``labels`` or ``start``. :ivar exempt: of ``node``, ``apiserver``, ``dns``.
    """

    name: str
    uid: str = ""
    generation: int = 0
    order: tuple[int, ...] = ()
    pods: Selection = Selection()
    count: int | float | None = None
    interface: str = ""
    egress: Side | None = None
    ingress: Side | None = None
    script: Script | None = None
    duration: float | None = None
    lease: str = ""
    engine: str = "auto"
    verify: str = "probe"
    seed: int | None = None
    follow: str = "labels"
    exempt: tuple[str, ...] = ("node", "apiserver")

    @property
    def sort_key(self) -> tuple[tuple[int, ...], str]:
        """Order of profiles that meet on a packet: by ``order``, then by name."""
        return (self.order, self.name)
