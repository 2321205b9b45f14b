"""Who: the short forms of markers (``app=web``, ``pod/web-0``, ``10.0.0.0/8``) as a :class:`Selection`, and back."""

from __future__ import annotations

import re
from dataclasses import replace

from pytest_k8s_netem.profile.addresses import read_network, render_network
from pytest_k8s_netem.profile.findings import Findings, nearest, refusal
from pytest_k8s_netem.profile.labels import format_labels, parse_labels
from pytest_k8s_netem.profile.trafficprofile import Block, LabelSelector, Ref, RefKind, Selection

POD_FORMS = 'a label selector "app=web,tier!=db", "pod/web-0", "svc/db", "deploy/web" or "container/redis"'
PEER_FORMS = f'{POD_FORMS}, "node/NAME", an address "10.0.0.7", a CIDR "10.0.0.0/8", or "fqdn:example.org"'
EVERYWHERE = (Block((4, 0, 0)), Block((6, 0, 0)))
"""All addresses of both families."""

Atom = LabelSelector | Ref | Block

_KINDS = {
    **dict.fromkeys(("pod", "pods", "po"), RefKind.POD),
    **dict.fromkeys(("svc", "service", "services"), RefKind.SERVICE),
    **dict.fromkeys(("deploy", "deployment", "deployments"), RefKind.DEPLOYMENT),
    **dict.fromkeys(("node", "nodes", "no"), RefKind.NODE),
    "container": RefKind.CONTAINER,
}
_NAMESPACED = (RefKind.POD, RefKind.SERVICE, RefKind.DEPLOYMENT, RefKind.CONTAINER)
_OBJECT_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,251}[a-zA-Z0-9])?")
_HOST = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.?"
)


def parse_pods(value: object, path: str = "pods") -> Selection:
    """One of :data:`POD_FORMS`, or a list of them, which are ORed.

    :raises ConfigError: for every item that is none, and for remotes that have no interface to touch.
    """
    return _parse(value, path, POD_FORMS, pods_only=True)


def parse_peers(value: object, path: str = "to") -> Selection:
    """One of :data:`PEER_FORMS`, or a list of them, which are ORed.

    :raises ConfigError: for every item that is none.
    """
    return _parse(value, path, PEER_FORMS, pods_only=False)


def parse_ref(kind: RefKind, name: object, path: str = "") -> Ref:
    """A thing by its name.

    :raises ConfigError: if no thing of that kind can have that name.
    """
    if kind is RefKind.FQDN:
        host = name.lower() if isinstance(name, str) else ""
        if not _HOST.fullmatch(host):
            raise refusal(path, name, "not a host's name", "write it in full: example.org")
        return Ref(kind, host.removesuffix("."))
    if not isinstance(name, str) or not _OBJECT_NAME.fullmatch(name):
        raise refusal(path, name, f"not the name of a {kind.value}")
    return Ref(kind, name)


def format_selection(selection: Selection) -> str:
    """The forms that make this selection, joined by "or"; exceptions follow "except"."""
    parts = [format_labels(selector) or "every pod" for selector in selection.selectors]
    parts += [format_ref(ref) for ref in selection.refs]
    if selection.blocks == EVERYWHERE:
        parts.append("anywhere")
    else:
        parts += [_block_text(block) for block in selection.blocks]
    text = " or ".join(parts) or "nothing"
    if selection.exceptions:
        text += f" except {' or '.join(map(format_selection, selection.exceptions))}"
    return text


def format_ref(ref: Ref) -> str:
    """``pod/web-0``, ``fqdn:example.org``."""
    return f"{ref.kind.value}{':' if ref.kind is RefKind.FQDN else '/'}{ref.name}"


def in_namespaces(selection: Selection, names: tuple[str, ...]) -> Selection:
    """The selection confined to these namespaces (none = all); addresses, nodes and hosts are in no namespace."""
    namespaced = selection.selectors or any(ref.kind in _NAMESPACED for ref in selection.refs)
    inner = tuple(in_namespaces(exception, names) for exception in selection.exceptions)
    return replace(selection, names=names if namespaced else (), exceptions=inner)


def _parse(value: object, path: str, forms: str, *, pods_only: bool) -> Selection:
    findings = Findings()
    several = isinstance(value, list | tuple | set | frozenset)
    texts = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
    if not texts:
        findings.add(path, value, "an empty list selects nothing", f"forms: {forms}")
    atoms: list[Atom] = []
    for at, text in enumerate(texts):
        where = f"{path}[{at}]" if several else path
        atom = findings.read(lambda item, spot: _atom(item, spot, forms), text, where, None)
        if atom is not None and pods_only and not _is_pods(atom):
            findings.add(where, text, "names no pod whose interface could be touched", f"forms: {forms}")
        elif atom is not None:
            atoms.append(atom)
    findings.settle()
    return gather(atoms)


def gather(atoms: list[Atom]) -> Selection:
    """The union of these; each once."""
    once = list(dict.fromkeys(atoms))
    return Selection(
        tuple(atom for atom in once if isinstance(atom, LabelSelector)),
        tuple(atom for atom in once if isinstance(atom, Ref)),
        tuple(atom for atom in once if isinstance(atom, Block)),
    )


def _is_pods(atom: Atom) -> bool:
    return isinstance(atom, LabelSelector) or (isinstance(atom, Ref) and atom.kind in _NAMESPACED)


def _atom(value: object, path: str, forms: str) -> Atom | None:
    text = value.strip() if isinstance(value, str) else str(value) if _is_address(value) else ""
    if not text:
        raise refusal(path, value, "not a selector", f"forms: {forms}")
    if network := read_network(text):
        return Block(network)
    if text.lower().startswith("fqdn:"):
        return parse_ref(RefKind.FQDN, text[5:], path)
    kind, slash, name = text.partition("/")
    if slash and kind.lower() in _KINDS and "=" not in name:
        return parse_ref(_KINDS[kind.lower()], name, path)
    if re.fullmatch(r"[^\s,=!()]+", text):
        raise refusal(path, value, *_bare(text, slash, forms))
    return parse_labels(text, path)


def _is_address(value: object) -> bool:
    """Objects of the ipaddress module say by their class's module what they are."""
    return type(value).__module__ == "ipaddress"


def _bare(text: str, slash: str, forms: str) -> tuple[str, str]:
    """Why a single word is no selector, and what it may have meant."""
    if not slash:
        return "a bare word may be a label, a pod or a host", f"forms: {forms}"
    kind = text.partition("/")[0]
    if re.fullmatch(r"[0-9a-fA-F.:]+", kind):
        return "not a CIDR", 'write "10.0.0.0/8" or "2001:db8::/32"'
    return f'"{kind}" is no kind that can be selected', f"{_guess(kind)}forms: {forms}"


def _guess(kind: str) -> str:
    advice = nearest(kind, _KINDS)
    return f"{advice} " if advice.startswith("did") else ""


def _block_text(block: Block) -> str:
    text = render_network(block.network, always_length=False)
    holes = ", ".join(render_network(hole, always_length=False) for hole in block.exceptions)
    return f"{text} without {holes}" if holes else text
