"""The schema of ``spec``: who, which way, which packets, and k8s-netem's own dialect."""

from __future__ import annotations

from pytest_k8s_netem.profile import builtin, cel, flexe
from pytest_k8s_netem.profile.distributions import CHOICES
from pytest_k8s_netem.profile.ports import SIDES
from pytest_k8s_netem.profile.protocols import ETHER_TYPES, PROTOCOL_NAMES, PROTOCOLS, WITH_PORTS
from pytest_k8s_netem.profile.rules import REFS
from pytest_k8s_netem.profile.schemawords import WAYS, impairment
from pytest_k8s_netem.profile.spec import ENGINES, EXEMPT, FOLLOW, VERIFY
from pytest_k8s_netem.profile.trafficprofile import Operator
from pytest_k8s_netem.profile.units import MAX_COUNT, MAX_DURATION, MAX_RATE, MAX_SIZE
from pytest_k8s_netem.profile.upstream import TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.profile.cel import Schema

MOST_RULES = 500
"""Rules of a direction, and ports of a rule, that an object may have: what a check costs must be bounded."""
_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = rf"^([a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_NAME}$"
_LABEL_VALUE = rf"^({_NAME})?$"
_OBJECT = r"^[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,251}[a-zA-Z0-9])?$"
_PORT_NAME = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}([.]{_OCTET}){{3}}(/(3[0-2]|[12]?[0-9]))?"
_IPV6 = (
    rf"[0-9a-fA-F]{{0,4}}(:[0-9a-fA-F]{{0,4}}){{2,7}}(:{_OCTET}([.]{_OCTET}){{3}})?(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?"
)
_BLOCK = f"^({_IPV4}|{_IPV6})$"
_HOST = r"^([a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?[.])*[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?[.]?$"
_PODS = ("podSelector", "pod", "service", "deployment", "container")
"""What names pods, whose interfaces can be touched; the other peers can only be the far end."""
_PROTOCOL = f"^((?i:{'|'.join(PROTOCOL_NAMES)})|0x0{{0,2}}[0-9a-fA-F]{{1,2}}|0*{cel.between(0, 255)})$"
_ETHER_HEX = "0x(0?[6-9a-fA-F][0-9a-fA-F]{2}|[1-9a-fA-F][0-9a-fA-F]{3})"
_ETHER = f"^((?i:{'|'.join(ETHER_TYPES)})|{_ETHER_HEX}|0?{cel.between(1536, 65535)})$"
_NESTED = 2
"""Levels of ``except`` that the schema describes; deeper ones are taken as they are."""


def spec() -> Schema:
    """``spec`` of a TrafficProfile."""
    fields = {**_who(), **_which(), **_settings(), "impairment": impairment(), **_upstream()}
    return cel.mapping("what to impair, and how", fields, *_rules())


def _rules() -> list[Schema]:
    ways = {way: f"(has(self.{way}) && size(self.{way}) > 0)" for way in WAYS}
    split = cel.any_of(f"impairment.{way}" for way in WAYS)
    matching = " && ".join(f"has(self.impairment.{way}) == {has}" for way, has in ways.items())
    rtt = (
        "has(self.impairment.rtt) || (has(self.impairment.timeline) && self.impairment.timeline.exists(s, has(s.rtt)))"
    )
    named, far = (" || ".join(f"has(s.{each})" for each in some) for some in (_PODS, ("ipBlock", "node", "fqdn")))
    pods, others = (some.replace("(s.", "(self.pods.") for some in (named, far))
    several = "has(self.pods.anyOf) && self.pods.anyOf.exists"
    return [
        cel.rule(
            f"!has(self.pods) || {pods} || ({several}(s, {named}))",
            "selects nothing: write podSelector: {} for every pod",
        ),
        cel.rule(
            f"!has(self.pods) || !({others} || ({several}(s, {far})))",
            "ipBlock, node and fqdn name no pod whose interface could be touched",
        ),
        cel.rule(
            "!has(self.pods) || !has(self.pods.namespaceSelector)", "write namespaceSelector beside pods, not in it"
        ),
        cel.rule(
            "!(has(self.type) && self.type == 'Flexe') || !has(self.parameters) || "
            "(has(self.parameters.profiles) && self.parameters.profiles.size() > 0)",
            "a profile of type Flexe needs at least one entry in parameters.profiles",
        ),
        cel.rule("has(self.podSelector) != has(self.pods)", "write podSelector or pods: podSelector: {} is every pod"),
        cel.rule(
            "has(self.impairment) || has(self.parameters)",
            "what shall happen to packets? write impairment: {delay: 100ms}",
        ),
        cel.rule(
            "!has(self.impairment) || !(has(self.parameters) || has(self.type))",
            "impairment is our dialect, type and parameters are k8s-netem's: one object speaks one of them",
        ),
        cel.rule(
            f"!has(self.impairment) || {' || '.join(ways.values())}",
            "neither egress nor ingress has a rule: egress: [{}] is all that the pods send",
        ),
        cel.rule(
            f"!has(self.impairment) || !({split}) || ({matching})",
            "impairment.egress goes with rules in egress, impairment.ingress with rules in ingress",
        ),
        cel.rule(
            f"!has(self.impairment) || !({rtt}) || ({' && '.join(ways.values())})",
            "rtt speaks of both directions: give egress and ingress rules, or write delay",
        ),
    ]


def _who() -> dict[str, Schema]:
    return {
        "podSelector": _selector("the pods to impair; {} is every pod"),
        "pods": _selection("the pods to impair, in place of podSelector; a union of all that is named"),
        "namespaceSelector": _selector("the namespaces of those pods; left out: all"),
        "count": cel.numbered("how many of them: 2, or 50%", 1, None, cel.SHARE) | {"allOf": [{"pattern": "[1-9]"}]},
        "interfaceFilter": cel.text("regular expression for names of interfaces; left out: all but lo"),
    }


def _which() -> dict[str, Schema]:
    return {
        "egress": cel.items("packets that the pods send; rules are ORed", _rule("to"), MOST_RULES),
        "ingress": cel.items("packets that the pods receive; rules are ORed", _rule("from"), MOST_RULES),
    }


def _settings() -> dict[str, Schema]:
    spared = "what is spared unless a peer names it; [] spares nothing but ARP"
    exempt = cel.either(spared, f"^({'|'.join(EXEMPT)})$", **cel.NO_MAPPING)
    order = {"type": "integer", "format": "int64"}
    return {
        "duration": cel.duration("for how long; left out: until the object goes", above_zero=True),
        "lease": cel.text("namespace/name of a Lease that this profile ends with", "^[a-z0-9.-]+/[a-z0-9.-]+$"),
        "engine": cel.word("what impairs packets", ENGINES),
        "verify": cel.word("how it is proven", VERIFY),
        "seed": {"type": "integer", "format": "int64", "minimum": 0, "description": "of everything random"},
        "follow": cel.word("whether the set of pods is live, or stays as it was at the start", FOLLOW),
        "exempt": exempt | {"items": cel.word("one of them", EXEMPT)},
        "order": cel.items("place among profiles that take the same packet", order),
    }


def _rule(peers: str) -> Schema:
    protocol = "name or number of a protocol: tcp, icmp, 132"
    ether = "name or number of an ether type: ip, arp, 0x88B8"
    fields = {
        peers: cel.items("the other end; any if left out", _selection("one of them")),
        "ports": cel.items("ports of the destination; any if left out", _port(), MOST_RULES),
        "etherTypes": cel.items(ether, cel.numbered(ether, 1536, 0xFFFF, _ETHER)),
        "inetProtos": cel.items(protocol, cel.numbered(protocol, 0, 255, _PROTOCOL)),
    }
    fields["inetProto"] = fields["inetProtos"]
    once = cel.rule(
        "!has(self.inetProto) || !has(self.inetProtos)", "inetProto is another name of inetProtos: keep one"
    )
    return cel.mapping("what is told is ANDed, the items of each are ORed; {} is every IP packet", fields, once)


def _port() -> Schema:
    name = cel.numbered("number or name of the first port", 1, 65535, _PORT_NAME)
    name |= {"maxLength": 15, "allOf": [{"pattern": "[a-z]"}]}
    fields = {
        "port": name,
        "endPort": cel.number("the last port of a range", 1, 65535, whole=True),
        "protocol": cel.numbered("tcp (default), udp, sctp ..", 0, 255, _PROTOCOL),
        "side": cel.word("whose port: the other end's, the pod's own, or either's", SIDES),
    }
    span = cel.rule(
        "!has(self.endPort) || (has(self.port) && type(self.port) == int && int(self.port) <= self.endPort)",
        "a range needs the number of its first port, which is not above endPort",
    )
    return cel.mapping("as in a NetworkPolicy", fields, span, *_ported())


def _ported() -> list[Schema]:
    """A port's protocol has ports; names are left to JSON schema, since a check of strings in long lists costs much."""
    numbers = [PROTOCOLS[name] for name in WITH_PORTS]
    names = {"pattern": f"^((?i:{'|'.join(WITH_PORTS)})|{'|'.join(map(str, numbers))}|0x.*)$"}
    return [
        cel.rule(
            f"!has(self.port) || !has(self.protocol) || type(self.protocol) != int || int(self.protocol) in {numbers}",
            f"protocols with ports are {', '.join(WITH_PORTS)}",
        ),
        cel.together(cel.without("port"), cel.without("protocol"), {"properties": {"protocol": names}}),
    ]


def _selector(meaning: str) -> Schema:
    value = cel.text("a label's value", _LABEL_VALUE)
    labels: Schema = {"type": "object", "additionalProperties": value}
    fields = {
        "key": cel.text("a label's key", _LABEL_KEY),
        "operator": cel.word("how it is compared", [operator.value for operator in Operator]),
        "values": cel.items("what it is compared with", value),
    }
    expression = cel.mapping("one requirement", fields, required=("key", "operator"))
    expression |= cel.checked(
        cel.rule(
            "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            "In and NotIn have values, Exists and DoesNotExist have none",
        )
    )
    parts = {
        "matchLabels": labels | {"description": "labels and the values they must have"},
        "matchExpressions": cel.items("requirements, all of which must hold", expression, MOST_RULES),
    }
    return cel.mapping(meaning, parts)


def _selection(meaning: str, nested: int = _NESTED) -> Schema:
    fields = _atoms()
    fields["anyOf"] = cel.items("more of them", cel.mapping("one of them", _atoms()), MOST_RULES)
    fields["namespaceSelector"] = _selector("their namespaces")
    inner = _selection("one of them", nested - 1) if nested else cel.mapping("one of them", {})
    fields["except"] = cel.items("what is taken out again", inner)
    return cel.mapping(meaning, fields)


def _atoms() -> dict[str, Schema]:
    block = {
        "cidr": cel.text("an address block: 10.0.0.0/8", _BLOCK),
        "except": cel.items("blocks within it that are left out", cel.text("an address block", _BLOCK)),
    }
    atoms = {name: cel.text(f"a {name} by its name", _OBJECT) for name in REFS if name != "fqdn"}
    return {
        "podSelector": _selector("pods by their labels"),
        "ipBlock": cel.mapping("addresses", block, required=("cidr",)),
        **atoms,
        "fqdn": cel.text("a host by its full name", _HOST, 253),
    }


def _upstream() -> dict[str, Schema]:
    netem = cel.mapping("of type Builtin: seconds, kbit/s, ratios from 0 to 1", _netem(), *_netem_rules())
    values = cel.mapping("ms, kbit/s, percent; what is left out keeps its value", _flexe_values())
    profile = cel.mapping("one segment", {"name": cel.text("its name"), "parameters": values}, required=("name",))
    segment = cel.mapping("of the timeline", {"repeat": cel.flag("begin anew at the end")})
    parameters = {
        "netem": netem,
        "segments": cel.items("of type Flexe: whether it repeats", segment),
        "profiles": cel.items("of type Flexe: segments, one after the other", profile),
    }
    return {
        "type": cel.word("k8s-netem's dialect: how parameters are to be read", TYPES),
        "parameters": cel.mapping("k8s-netem's dialect: what happens to packets", parameters),
    }


def _netem() -> dict[str, Schema]:
    def field(name: str) -> Schema:
        read = builtin.READERS[name]
        if read is builtin.ratio:
            return cel.number("ratio", 0, 1)
        if read is builtin.seconds:
            return cel.number("seconds", 0, MAX_DURATION / 1e9)
        if read is builtin.distribution:
            return cel.word("of the jitter", CHOICES)
        low, high = _WHOLE.get(name, (0, MAX_COUNT))
        return cel.number("whole number", low, high, whole=True)

    return {name: field(name) for name in builtin.READERS}


_WHOLE = {
    "rate": (0, MAX_RATE // 1000),
    "rate_packetoverhead": (-MAX_SIZE, MAX_SIZE),
    "rate_cellsize": (0, MAX_SIZE),
    "rate_celloverhead": (0, MAX_SIZE),
    "slot_bytes": (0, MAX_SIZE),
}


def _netem_rules() -> list[Schema]:
    def given(name: str) -> str:
        zero = "0" if name in _WHOLE or name in ("reorder_gap", "limit", "slot_packets") else "0.0"
        return f"(has(self.{name}) && self.{name} != {zero})"

    rules = []
    for key, need in builtin.NEEDS.items():
        ways = [need, *(["slot_delay"] if key.startswith("slot_") else [])]
        rules.append(
            cel.rule(f"!{given(key)} || {' || '.join(map(given, ways))}", f"{key} means nothing without {need}")
        )
    return rules


def _flexe_values() -> dict[str, Schema]:
    most = {"runTime": MAX_DURATION / 1e9, "delay": MAX_DURATION / 1e6, "delayVariation": MAX_DURATION / 1e6}
    fields = {name: cel.number("percent", 0, 100) for name in flexe.READERS}
    fields |= {name: cel.number("seconds" if name == "runTime" else "ms", 0, high) for name, high in most.items()}
    fields |= {name: cel.number("kbit/s", 0, MAX_RATE / 1000) for name in ("bandwidthUp", "bandwidthDown")}
    fields["delayDistribution"] = cel.word("of the jitter", ("", *CHOICES))
    return fields
