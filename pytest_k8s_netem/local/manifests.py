"""What a manifest may say on the embedded cluster; everything else is refused by its name, never ignored."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.model.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

Shape = Mapping[str, Any] | list[Any] | Callable[[Any], str]
"""A mapping of known fields, a list of one shape, or a test that answers what would be right ("" = it is)."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""A label of a host's name, as Kubernetes takes it (RFC 1123)."""


def _anything(_: Any) -> str:
    return ""


def _text(value: Any) -> str:
    return "" if isinstance(value, str) else "write a string"


def _whole(value: Any) -> str:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return "" if good else "write a whole number, 0 or more"


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "write true or false"


def _texts(value: Any) -> str:
    good = isinstance(value, list) and all(isinstance(word, str) for word in value)
    return "" if good else 'write a list of strings: ["python", "server.py"]'


def _labels(value: Any) -> str:
    good = isinstance(value, Mapping) and all(isinstance(word, str) for pair in value.items() for word in pair)
    return "" if good else "write a mapping of strings"


def _host_label(value: Any) -> str:
    good = isinstance(value, str) and (not value or _LABEL.fullmatch(value))
    return "" if good else "write at most 63 lower-case letters, digits and '-', as in a host's name"


def _one_of(*words: str) -> Callable[[Any], str]:
    return lambda value: "" if value in words else f"write {' or '.join(words)}"


def _port(value: Any) -> str:
    good = isinstance(value, str) or (isinstance(value, int) and 0 < value < 1 << 16)
    return "" if good else "write a port number from 1 to 65535, or a port's name"


def _port_number(value: Any) -> str:
    good = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 16
    return "" if good else "write a port number from 1 to 65535"


_METADATA: Shape = {
    "name": _text,
    "generateName": _text,
    "namespace": _text,
    "labels": _labels,
    "annotations": _labels,
    "finalizers": _texts,
    **dict.fromkeys(
        ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "ownerReferences", "selfLink"),
        _anything,
    ),
}
_PROBE: Shape = {
    "tcpSocket": {"port": _port, "host": _text},
    "httpGet": {
        "port": _port,
        "host": _text,
        "path": _text,
        "scheme": _one_of("HTTP"),
        "httpHeaders": [{"name": _text, "value": _text}],
    },
    "exec": {"command": _texts},
    **dict.fromkeys(
        ("initialDelaySeconds", "periodSeconds", "timeoutSeconds", "successThreshold", "failureThreshold"), _whole
    ),
}
_USER: Shape = {"runAsUser": _whole, "runAsGroup": _whole, "runAsNonRoot": _flag}
_CONTAINER: Shape = {
    "name": _text,
    "command": _texts,
    "args": _texts,
    "workingDir": _text,
    "env": [{"name": _text, "value": _text, "valueFrom": {"fieldRef": {"fieldPath": _text, "apiVersion": _text}}}],
    "readinessProbe": _PROBE,
    "securityContext": _USER,
    "ports": [
        {
            "name": _text,
            "containerPort": _port_number,
            "protocol": _one_of("TCP", "UDP", "SCTP"),
            **dict.fromkeys(("hostPort", "hostIP"), _anything),
        }
    ],
    **dict.fromkeys(("image", "imagePullPolicy", "resources"), _anything),
}
_POD: Shape = {
    "containers": [_CONTAINER],
    "restartPolicy": _one_of("Always", "OnFailure", "Never"),
    "terminationGracePeriodSeconds": _whole,
    "securityContext": _USER,
    "hostname": _host_label,
    "subdomain": _host_label,
    "nodeName": _text,
}
_SELECTOR: Shape = {
    "matchLabels": _labels,
    "matchExpressions": [
        {"key": _text, "operator": _one_of("In", "NotIn", "Exists", "DoesNotExist"), "values": _texts}
    ],
}
_SHAPES: Mapping[tuple[str, str], Mapping[str, Shape]] = {
    ("v1", "Namespace"): {"spec": {"finalizers": _texts}},
    ("v1", "Pod"): {"spec": _POD},
    ("apps/v1", "Deployment"): {
        "spec": {
            "replicas": _whole,
            "selector": _SELECTOR,
            "template": {"metadata": _METADATA, "spec": _POD},
            "strategy": {"type": _one_of("RollingUpdate", "Recreate"), "rollingUpdate": _anything},
            **dict.fromkeys(("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"), _whole),
        }
    },
    ("v1", "Service"): {
        "spec": {
            "selector": _labels,
            "ports": [
                {
                    "name": _text,
                    "port": _port,
                    "targetPort": _port,
                    "protocol": _one_of("TCP", "UDP"),
                    "appProtocol": _text,
                }
            ],
            "type": _one_of("ClusterIP"),
            "clusterIP": _one_of("None"),
            "publishNotReadyAddresses": _flag,
            "ipFamilies": _texts,
            "ipFamilyPolicy": _one_of("SingleStack", "PreferDualStack", "RequireDualStack"),
        }
    },
}
UNKNOWN = "the embedded cluster does not know this field"
_HANDED_ON = "TrafficProfile"


def check(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest, if the embedded cluster can do all it says.

    :raises ConfigError: naming each field that it cannot.
    """
    kind, name = manifest.get("kind"), (manifest.get("metadata") or {}).get("name", "")
    if kind == _HANDED_ON:
        return dict(manifest)
    shape = _SHAPES.get((str(manifest.get("apiVersion")), str(kind)))
    if shape is None:
        known = ", ".join(f"{kind} ({version})" for version, kind in _SHAPES)
        raise ConfigError(
            "",
            [
                Problem(
                    "kind", f"{kind} ({manifest.get('apiVersion')})", "the embedded cluster has none", f"it has {known}"
                )
            ],
        )
    whole = {"apiVersion": _text, "kind": _text, "metadata": _METADATA, "status": _anything, **shape}
    problems = list(_walk(manifest, whole, ""))
    if all(problem.why == UNKNOWN for problem in problems):  # else what is required may not be where it is looked for
        problems += _required(manifest)
    if problems:
        raise ConfigError(f"{kind}/{name} cannot run on the embedded cluster:", problems)
    return dict(manifest)


def _walk(value: Any, shape: Shape, path: str) -> Iterator[Problem]:
    if value is None:
        return
    if callable(shape):
        if fix := shape(value):
            yield Problem(path, repr(value), "not understood here", fix)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield Problem(path, repr(value), "not a list")
            return
        for number, item in enumerate(value):
            yield from _walk(item, shape[0], f"{path}[{number}]")
    elif not isinstance(value, Mapping):
        yield Problem(path, repr(value), "not a mapping")
    else:
        yield from _walk_fields(value, shape, path)


def _walk_fields(value: Mapping[str, Any], shape: Mapping[str, Any], path: str) -> Iterator[Problem]:
    for name, part in value.items():
        where = f"{path}.{name}" if path else str(name)
        if name in shape:
            yield from _walk(part, shape[name], where)
        else:
            yield Problem(where, "", UNKNOWN, f"known are {', '.join(shape)}")


def _required(manifest: Mapping[str, Any]) -> Iterator[Problem]:
    kind, spec = manifest["kind"], manifest.get("spec") or {}
    if kind == "Pod":
        yield from _required_of_pod(spec, "spec")
    elif kind == "Deployment":
        yield from _required_of_deployment(spec)
    elif kind == "Service":
        yield from _required_of_service(spec)


def _required_of_pod(spec: Any, path: str) -> Iterator[Problem]:
    containers = spec.get("containers") if isinstance(spec, Mapping) else None
    if not isinstance(containers, list) or not containers:
        yield Problem(f"{path}.containers", "", "a pod needs at least one container")
        return
    seen: set[str] = set()
    for number, container in enumerate(containers):
        where = f"{path}.containers[{number}]"
        if not isinstance(container, Mapping):
            continue
        if not container.get("command"):
            yield Problem(
                f"{where}.command", "", "no image runs here, so the program must be named", 'command: ["redis-server"]'
            )
        name = str(container.get("name", ""))
        if not name or name in seen:
            yield Problem(f"{where}.name", name, "each container needs a name of its own")
        seen.add(name)
        yield from _required_of_ports(container.get("ports"), f"{where}.ports")
        if probe := container.get("readinessProbe"):
            yield from _required_of_probe(probe, container.get("ports"), f"{where}.readinessProbe")


def _required_of_ports(ports: Any, path: str) -> Iterator[Problem]:
    for number, port in enumerate(ports if isinstance(ports, list) else ()):
        if isinstance(port, Mapping) and "containerPort" not in port:
            yield Problem(f"{path}[{number}].containerPort", "", "a port has a number")


def _required_of_probe(probe: Any, ports: Any, path: str) -> Iterator[Problem]:
    kinds = [kind for kind in ("tcpSocket", "httpGet", "exec") if isinstance(probe, Mapping) and probe.get(kind)]
    if len(kinds) != 1:
        yield Problem(path, ", ".join(kinds), "needs exactly one of tcpSocket, httpGet, exec")
    elif kinds[0] != "exec" and "port" not in probe[kinds[0]]:
        yield Problem(f"{path}.{kinds[0]}.port", "", "which port to ask")
    elif kinds[0] != "exec" and isinstance(port := probe[kinds[0]]["port"], str) and not port.isdigit():
        there = ports if isinstance(ports, list) else ()
        names = [entry.get("name") for entry in there if isinstance(entry, Mapping)]
        if port not in names:
            why = "the container has no port of that name, so it would never be ready"
            yield Problem(f"{path}.{kinds[0]}.port", port, why, "a number, or a name among the container's ports")


def _required_of_deployment(spec: Any) -> Iterator[Problem]:
    template = (spec.get("template") if isinstance(spec, Mapping) else None) or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    wanted = (spec.get("selector") or {}).get("matchLabels") or {}
    if not spec.get("selector"):
        yield Problem("spec.selector", "", "a Deployment selects its pods", "matchLabels: {app: ...}")
    for key, value in wanted.items():
        if labels.get(key) != value:
            yield Problem(
                f"spec.template.metadata.labels.{key}", str(labels.get(key, "")), f"spec.selector wants {value}"
            )
    policy = (template.get("spec") or {}).get("restartPolicy", "Always")
    if policy != "Always":
        yield Problem("spec.template.spec.restartPolicy", policy, "a Deployment restarts its pods", "Always")
    yield from _required_of_pod(template.get("spec") or {}, "spec.template.spec")


def _required_of_service(spec: Any) -> Iterator[Problem]:
    if not spec.get("selector"):
        yield Problem("spec.selector", "", "a Service here is a name for pods, so it must select them")
    for number, port in enumerate(spec.get("ports") or ()):
        target = port.get("targetPort") if isinstance(port, Mapping) else None
        if isinstance(target, int) and target != port.get("port"):
            where = f"spec.ports[{number}].targetPort"
            why = "a Service's name gives the pods' own addresses here, so no port is mapped"
            yield Problem(where, str(target), why, f"the same number in port and targetPort ({target})")
