"""TrafficProfiles as kubectl applies them: of no run, so without a Lease."""

from __future__ import annotations

from typing import Any

from innerrun import until
from traffic import DELAY

from pytest_k8s_netem.api.protocol import TRAFFICPROFILES


def declared(scene: Any, client: Any, delay: str = f"{DELAY}ms", **words: Any) -> None:
    """Make one of the client's name, for that client, past what refuses nonsense on this machine.

    :param words: further fields of its impairment.
    """
    where = {"matchLabels": {"kubernetes.io/metadata.name": client.pod.namespace}}
    spec = {"namespaceSelector": where, "podSelector": {"matchLabels": {"app": client.name}}, "egress": [{}]}
    obj = {"apiVersion": "k8s-netem.riasc.eu/v1", "kind": "TrafficProfile", "metadata": {"name": client.name}}
    scene.call("create", TRAFFICPROFILES, {**obj, "spec": {**spec, "impairment": {"delay": delay, **words}}})


def deleted(scene: Any, client: Any) -> None:
    """Delete it, and wait for nothing."""
    scene.call("delete", TRAFFICPROFILES, client.name)


def gone(scene: Any, client: Any, patience: float = 30) -> None:
    """Wait until no profile names the client any more."""
    until(lambda: not scene.profiles(client), lambda: scene.profiles(client), patience)


def said(scene: Any, client: Any, kind: str) -> dict[str, Any]:
    """A condition of the one profile that names the client; {} = there is none yet."""
    [profile] = scene.profiles(client)
    found = (profile.get("status") or {}).get("conditions") or ()
    return next((one for one in found if one["type"] == kind), {})
