"""What the conditions in an object's status say."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.api.protocol import Object


def is_ready(obj: Object) -> bool:
    """Whether a pod or a node serves: condition Ready is True, and nobody deletes it."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
    return ready and not obj["metadata"].get("deletionTimestamp")
