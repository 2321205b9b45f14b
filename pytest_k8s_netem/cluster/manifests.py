"""Manifests as users hand them over: a path, YAML or JSON text, one object or a list of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pytest_k8s_netem.api import protocol
from pytest_k8s_netem.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Kind, Object

    Source = str | Path | Mapping[str, object] | Iterable[Mapping[str, object]]

KINDS: dict[tuple[str, str], Kind] = {
    (kind.api_version, kind.name): kind
    for kind in (
        protocol.NAMESPACES,
        protocol.PODS,
        protocol.SERVICES,
        protocol.DEPLOYMENTS,
        protocol.TRAFFICPROFILES,
    )
}


def load(source: Source) -> list[Object]:
    """The objects in a manifest; a ``List`` is opened, empty documents are left out.

    A string is a path if it has neither a newline nor a colon, else YAML (of which JSON is a part).

    :raises ConfigError: if it cannot be read, or is no manifest.
    """
    objects = [part for document in _documents(source) for part in _opened(document)]
    if not objects:
        raise ConfigError(f"no object in {_named(source)}")
    for at, obj in enumerate(objects):
        if not isinstance(obj, dict) or not obj.get("kind") or not obj.get("apiVersion"):
            raise ConfigError(f"{_named(source)}: document {at + 1} is no manifest: it needs apiVersion and kind")
        if not isinstance(obj.get("metadata"), dict) or not (
            obj["metadata"].get("name") or obj["metadata"].get("generateName")
        ):
            raise ConfigError(f"{_named(source)}: document {at + 1} ({obj['kind']}) has no metadata.name")
    return objects


def kind_of(obj: Object) -> Kind:
    """The resource type of a manifest.

    :raises ConfigError: for a type that no provider handles.
    """
    try:
        return KINDS[obj["apiVersion"], obj["kind"]]
    except KeyError:
        known = ", ".join(f"{name} ({version})" for version, name in KINDS)
        raise ConfigError(f"{obj['kind']} ({obj['apiVersion']}) cannot be applied here; known are {known}") from None


def _documents(source: Source) -> list[Object]:
    if isinstance(source, Path) or (isinstance(source, str) and not {"\n", ":"} & set(source)):
        path = Path(source)
        try:
            return _parsed(path.read_text(encoding="utf-8"), str(path))
        except OSError as error:
            raise ConfigError(f"cannot read the manifest {path}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not YAML: not text in UTF-8: {error.reason}") from None
    if isinstance(source, str):
        return _parsed(source, "the manifest")
    parts = [source] if isinstance(source, Mapping) else source
    objects = list(parts) if isinstance(parts, Iterable) else [None]
    if not all(isinstance(part, Mapping) for part in objects):
        raise ConfigError(
            f"{type(source).__name__} is no manifest: give a path, YAML or JSON text, an object or a list"
        )
    return [dict(part) for part in objects]


def _parsed(text: str, where: str) -> list[Object]:
    import yaml

    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return [document for document in yaml.load_all(text, Loader=loader) if document is not None]
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML: {error}") from None


def _opened(document: Object) -> list[Object]:
    if isinstance(document, dict) and document.get("kind") == "List" and isinstance(document.get("items"), list):
        return list(document["items"])
    return [document]


def _named(source: Source) -> str:
    return str(source) if isinstance(source, Path) or (isinstance(source, str) and "\n" not in source) else "manifest"
