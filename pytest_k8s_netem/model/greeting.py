"""What an agent says of itself and its targets, as JSON; apart from the rest, so that a hello needs no more of it."""

from __future__ import annotations

from pytest_k8s_netem.model import capabilities
from pytest_k8s_netem.model.codec import BOOL, INT, TEXT, many, record

INTERFACE = record(
    capabilities.Interface,
    name=TEXT,
    index=INT,
    mtu=INT,
    mac=TEXT,
    up=BOOL,
    default=BOOL,
    addresses=many(TEXT),
)
CAPABILITIES = record(
    capabilities.Capabilities,
    kernel=TEXT,
    engines=many(
        record(
            capabilities.EngineCapability,
            name=TEXT,
            available=BOOL,
            missing=TEXT,
            refuses=many(TEXT),
            unpromised=many(TEXT),
        )
    ),
    classifiers=many(TEXT),
    privileges=many(TEXT),
)
