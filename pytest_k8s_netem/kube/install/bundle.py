"""The objects as text: a stream of YAML, a base for kustomize, and, from the same objects, a chart for Helm."""

from __future__ import annotations

import re
from importlib import metadata
from typing import Any

from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.kube.install.chart import NOTES, farewell
from pytest_k8s_netem.kube.install.names import NAMESPACE
from pytest_k8s_netem.kube.install.objects import objects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from pytest_k8s_netem.api.protocol import Object

PROJECT = "pytest-k8s-netem"
IMAGES = {"controllerImage": "x-controller-image", "agentImage": "x-agent-image"}
"""Values of the chart, and what stands for them in objects until they are templates."""
ELSEWHERE = """\
{{- if ne .Release.Namespace "NAMESPACE" }}
{{- fail "install it with --namespace NAMESPACE" }}
{{- end }}
""".replace("NAMESPACE", NAMESPACE)
"""Objects that are cluster-wide name the controller's namespace."""


def stream(controller_image: str, agent_image: str) -> str:
    """For ``kubectl apply -f -``."""
    return "---\n".join(_yaml(obj) for _, obj in objects(controller_image, agent_image))


def base(controller_image: str, agent_image: str) -> dict[str, str]:
    """For ``kubectl apply -k``, and to lay patches over: contents by file name."""
    files = {_file(obj): _yaml(obj) for _, obj in objects(controller_image, agent_image)}
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": [*files]}
    return {"kustomization.yaml": _yaml(head), **files}


def chart(controller_image: str, agent_image: str) -> dict[str, str]:
    """For ``helm upgrade --install``; its namespace is Helm's to make, and the images are values."""
    ours = [obj for kind, obj in objects(*IMAGES.values()) if kind.name != "Namespace"]
    templates = {f"templates/{_file(obj)}": _template(obj) for obj in [*ours, farewell(IMAGES["controllerImage"])]}
    head = {
        "apiVersion": "v2",
        "name": "netem",
        "description": "Network chaos for tests: the controller of pytest-k8s-netem",
        "type": "application",
        "version": semantic(_version()),
        "appVersion": _version(),
    }
    values = dict(zip(IMAGES, (controller_image, agent_image), strict=True))
    return {
        "Chart.yaml": _yaml(head),
        "values.yaml": _yaml(values),
        "templates/namespace.yaml": ELSEWHERE,
        **templates,
        "templates/NOTES.txt": NOTES,
    }


def write(folder: Path, files: dict[str, str]) -> list[Path]:
    """Write files, which may replace those of the same name; their paths.

    :raises ConfigError: if the folder cannot be written to.
    """
    paths = []
    try:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            paths.append(path)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from None
    return paths


def semantic(version: str) -> str:
    """A Python version (PEP 440) as Helm wants it (SemVer 2): ``0.1.0.dev0`` is ``0.1.0-dev0``."""
    found = re.match(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?", version)
    numbers = ".".join(part or "0" for part in found.groups()) if found else "0.0.0"
    rest = re.sub(r"[^0-9A-Za-z-]+", "", version[found.end() :] if found else version)
    return f"{numbers}-{rest}" if rest else numbers


def _version() -> str:
    try:
        return metadata.version(PROJECT)
    except metadata.PackageNotFoundError:
        return "0.0.0"


def _file(obj: Object) -> str:
    name = obj["metadata"]["name"].replace(".", "-")
    return f"{obj['kind'].lower()}-{name}.yaml"


def _yaml(obj: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(obj, sort_keys=False, width=1000)
    return text


def _template(obj: Object) -> str:
    """Braces that an object has are no template's."""
    text = _yaml(obj).replace("{{", '{{ "{{" }}')
    for value, mark in IMAGES.items():
        text = text.replace(mark, f"{{{{ .Values.{value} | quote }}}}")
    return text
