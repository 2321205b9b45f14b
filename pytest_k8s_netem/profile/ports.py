"""Ports: the markers' short form (``tcp/5432``), the objects' form, and back."""

from __future__ import annotations

import re

from pytest_k8s_netem.model.ranges import Ranges
from pytest_k8s_netem.profile.findings import Findings, nearest, refusal, written
from pytest_k8s_netem.profile.protocols import PROTOCOLS, WITH_PORTS, parse_protocol, protocol_name
from pytest_k8s_netem.profile.trafficprofile import Port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SIDES = ("either", "remote", "local")
KEYS = ("port", "endPort", "protocol", "side")
_NUMBERS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
_NAME = re.compile(r"(?=.*[a-z])[a-z0-9](?:[a-z0-9-]{0,13}[a-z0-9])?")
"""IANA_SVC_NAME of RFC 6335, as Kubernetes has it."""


def parse_ports(value: object, path: str = "ports", side: str = "either") -> tuple[Port, ...]:
    """``"tcp/5432"``, ``"tcp/8000-8100"``, ``"tcp/http"`` (a named port), ``"tcp"`` (all), or a list of them.

    :raises ConfigError: for every item that is none.
    """
    findings = Findings()
    several = isinstance(value, list | tuple)
    items = list(value) if isinstance(value, list | tuple) else [value]
    if not items:
        findings.add(path, value, "an empty list takes no port", f"write {written(path, 'tcp/5432')}")
    ports = []
    for at, item in enumerate(items):
        where = f"{path}[{at}]" if several else path
        ports.append(findings.read(lambda text, spot: _short(text, spot, side), item, where, None))
    findings.settle()
    return tuple(dict.fromkeys(port for port in ports if port is not None))


def format_port(port: Port) -> str:
    """``tcp/5432``; "from" or "to" where only one end's port counts is for the caller to say."""
    numbers = "" if port.ports is None else ",".join(_span(first, last) for first, last in port.ports)
    end = port.name or numbers
    name = protocol_name(port.protocol)
    return f"{name}/{end}" if end else name


def parse_port(value: object, path: str, side: str) -> Port:
    """``{port: 443 or a name, endPort, protocol: TCP, side}``, as in a NetworkPolicy, where ``side`` is the default.

    :raises ConfigError: with every mistake.
    """
    findings = Findings()
    told = findings.mapping(value, path, KEYS)
    protocol = findings.read(parse_protocol, told.get("protocol", "TCP"), f"{path}.protocol", PROTOCOLS["tcp"])
    named, numbers = _numbers(told, path, findings)
    if (named or numbers) and protocol_name(protocol) not in WITH_PORTS:
        findings.add(
            f"{path}.protocol", told.get("protocol"), "has no ports", f"those that do: {', '.join(WITH_PORTS)}"
        )
    said = told.get("side", side)
    if said not in SIDES:
        findings.add(f"{path}.side", said, "unknown side", nearest(said, SIDES))
    findings.settle()
    return Port(protocol, numbers, named, str(said))


def render_port(port: Port, side: str) -> dict[str, object]:
    """The object that :func:`parse_port` reads as this port; a second range of numbers has no place in it."""
    told: dict[str, object] = {}
    if port.name:
        told["port"] = port.name
    elif port.ports:
        first, last = port.ports.pairs[0]
        told["port"] = first
        if last != first:
            told["endPort"] = last
    name = protocol_name(port.protocol)
    told["protocol"] = port.protocol if name.isdigit() else name.upper()
    return told if port.side == side else told | {"side": port.side}


def _short(value: object, path: str, side: str) -> Port:
    text = value.strip() if isinstance(value, str) else ""
    if type(value) is int or _NUMBERS.fullmatch(text):
        raise refusal(path, value, "a port needs its protocol", f"write {written(path, f'tcp/{value}'.strip())}")
    name, slash, end = text.partition("/")
    protocol = name.lower()
    if slash and protocol not in PROTOCOLS and end.lower() in PROTOCOLS:
        raise refusal(path, value, "the protocol comes first", f"write {written(path, f'{end.lower()}/{name}')}")
    if protocol not in PROTOCOLS:
        fix = nearest(name, WITH_PORTS) if slash else f"write {written(path, 'tcp/5432')}"
        raise refusal(path, value, "not a port", fix)
    if not slash:
        return Port(PROTOCOLS[protocol], side=side)
    if protocol not in WITH_PORTS:
        raise refusal(path, value, f"{protocol} has no ports", f"write {written(path, protocol)}")
    return _ended(Port(PROTOCOLS[protocol], side=side), end, value, path)


def _ended(port: Port, end: str, value: object, path: str) -> Port:
    if match := _NUMBERS.fullmatch(end):
        first = int(match[1])
        return Port(port.protocol, _range(first, int(match[2] or first), value, path), side=port.side)
    if not _NAME.fullmatch(end):
        fix = f"write {written(path, 'tcp/5432')}, {written(path, 'tcp/8000-8100')} or {written(path, 'tcp/http')}"
        raise refusal(path, value, "neither a port's number, a range nor a name", fix)
    return Port(port.protocol, name=end, side=port.side)


def _range(first: int, last: int, value: object, path: str) -> Ranges:
    if not 1 <= first <= last <= 65535:
        why = "the range ends before it begins" if first > last else "a port lies between 1 and 65535"
        raise refusal(path, value, why)
    return Ranges.of((first, last))


def _numbers(told: Mapping[str, object], path: str, findings: Findings) -> tuple[str, Ranges | None]:
    """(name, numbers) of a port object."""
    port, end = told.get("port"), told.get("endPort")
    if isinstance(port, str) and _NAME.fullmatch(port):
        if end is not None:
            findings.add(f"{path}.endPort", end, "a named port has no range", "leave it out")
        return port, None
    if port is None:
        if end is not None:
            findings.add(f"{path}.endPort", end, "a range needs its first port", "add port")
        return "", None
    if type(port) is not int:
        findings.add(f"{path}.port", port, "expected a port's number or name")
        return "", None
    if end is not None and type(end) is not int:
        findings.add(f"{path}.endPort", end, "expected a port's number")
        return "", None
    last = end if isinstance(end, int) else port
    return "", findings.read(lambda value, spot: _range(port, last, value, spot), port, f"{path}.port", None)


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
