"""k8s-netem's dialect: ``spec.type`` and ``spec.parameters``, with its own units."""

from __future__ import annotations

from pytest_k8s_netem.model.impairment import NONE
from pytest_k8s_netem.model.plan import Direction
from pytest_k8s_netem.model.timeline import Timeline
from pytest_k8s_netem.profile.builtin import parse_builtin
from pytest_k8s_netem.profile.findings import Findings, nearest, under
from pytest_k8s_netem.profile.flexe import parse_flexe
from pytest_k8s_netem.profile.trafficprofile import Script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

TYPES = ("Builtin", "Flexe", "Script")


def parse_parameters(
    spec: Mapping[str, object], path: str, findings: Findings
) -> tuple[dict[Direction, Timeline], Script | None]:
    """(timeline of each direction, script) of ``spec.type`` and ``spec.parameters``; mistakes are noted."""
    kind = spec.get("type", "Builtin")
    where = under(path, "parameters")
    if kind not in TYPES:
        findings.add(under(path, "type"), kind, "unknown type", nearest(kind, TYPES))
    if "parameters" not in spec:
        findings.missing(where, "missing", "k8s-netem's dialect needs it; ours is spec.impairment")
    parameters = findings.mapping(spec.get("parameters", {}), where)
    if kind == "Flexe":
        return parse_flexe(parameters, where, findings), None
    script = Script(parameters) if kind == "Script" else None
    impairment = parse_builtin(parameters, where, findings) if kind == "Builtin" else NONE
    return dict.fromkeys(Direction, Timeline.constant(impairment)), script
