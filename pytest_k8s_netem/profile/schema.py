"""The definition of TrafficProfiles for a Kubernetes API server, made from the vocabulary that the parser reads.

It accepts what :func:`pytest_k8s_netem.profile.parse.parse` accepts. Fields that neither knows are kept, since they
would be dropped before anybody could refuse them: the validating webhook, else the controller, does that.
"""

from __future__ import annotations

from pytest_k8s_netem.profile.native import API_VERSION, KIND
from pytest_k8s_netem.profile.schemaspec import spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.profile.cel import Schema

GROUP, _, VERSION = API_VERSION.partition("/")
PLURAL = "trafficprofiles"
NAME = f"{PLURAL}.{GROUP}"
_COLUMNS = (
    ("Impairment", "string", ".status.impairment", 0),
    ("Pods", "integer", ".status.pods.selected", 0),
    ("Applied", "integer", ".status.pods.applied", 0),
    ("Verified", "integer", ".status.pods.verified", 0),
    ("Engine", "string", ".status.engine", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Reason", "string", ".status.conditions[?(@.status=='False')].reason", 1),
)
"""Name, type, path and priority (1: ``kubectl get -o wide``) of what ``kubectl get`` prints."""


def definition() -> Schema:
    """The CustomResourceDefinition, as its manifest."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["tp", "tps"],
                "categories": ["netem", "chaos"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(*column) for column in _COLUMNS],
                    "schema": {"openAPIV3Schema": schema()},
                }
            ],
        },
    }


def schema() -> Schema:
    """Of one object."""
    return {
        "type": "object",
        "description": "An impairment of the network: who, which way, which packets, and what happens to them.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec(),
            "status": {
                "type": "object",
                "description": "what the controller has seen; conditions Accepted, Applied, Verified",
                "x-kubernetes-preserve-unknown-fields": True,
            },
        },
    }


def _column(name: str, kind: str, path: str, priority: int) -> Schema:
    more = {"priority": priority} if priority else {}
    return {"name": name, "type": kind, "jsonPath": path, **more}
