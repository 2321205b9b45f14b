"""A witness's answers as JSON, and back; whole plans with their peer sets, so an answer may be longer than a frame."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pytest_k8s_netem.controller.evidence import Ended, Evidence, Gap, PodEvidence
from pytest_k8s_netem.judge.effect import Effect
from pytest_k8s_netem.judge.verdict import Verdict
from pytest_k8s_netem.model.codec import BOOL, NUMBER, TEXT, Codec, WireError, guarded, many, optional, record
from pytest_k8s_netem.model.problem import Problem
from pytest_k8s_netem.model.wire import CHECK, CHECK_OBSERVED, OBSERVED, PEERS, plan_codec
from pytest_k8s_netem.resolve.pairs import Pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.model.peers import PeerSet


def table(codec: Codec) -> Codec:
    """A dict with textual keys, as a JSON object."""

    def decode(data: Any, path: str) -> Any:
        if not isinstance(data, dict):
            raise WireError(f"{path}: expected an object")
        return {name: codec.decode(part, f"{path}.{name}") for name, part in data.items()}

    return Codec(lambda value: {name: codec.encode(part) for name, part in value.items()}, decode)


EFFECT = record(Effect, **{field.name: NUMBER for field in fields(Effect)})
GAP = record(Gap, pod=TEXT, start=NUMBER, end=optional(NUMBER), cause=TEXT)
PAIRS = many(record(Pair, pod=TEXT, remote=TEXT, check=CHECK))
CHECKS = table(many(CHECK))
MEASURED = table(many(CHECK_OBSERVED))
_PROBLEM = Codec(lambda value: value.to_wire(), guarded(Problem.from_wire))
_VERDICT = record(Verdict, verified=BOOL, proof=TEXT, problems=many(_PROBLEM))


def encode(evidence: Evidence) -> dict[str, Any]:
    """The evidence, and beside it the peer sets that its plans name."""
    sets: dict[str, PeerSet] = {}
    encoded = _evidence(sets).encode(evidence)
    return {"sets": {digest: PEERS.encode(peers) for digest, peers in sets.items()}, "evidence": encoded}


def decode(data: Any) -> Evidence:
    """Read what :func:`encode` made.

    :raises WireError: if it is something else.
    """
    if not isinstance(data, dict):
        raise WireError("expected an object")
    sets = table(PEERS).decode(data.get("sets"), "sets")
    evidence: Evidence = _evidence(sets).decode(data.get("evidence"), "evidence")
    return evidence


def _evidence(sets: dict[str, PeerSet]) -> Codec:
    plan = plan_codec(sets)
    pod = record(PodEvidence, plan=plan, observed=OBSERVED, verdicts=table(_VERDICT), earlier=EFFECT)
    ended = record(Ended, pod=TEXT, effect=EFFECT, known=BOOL)
    return record(
        Evidence,
        pods=table(pod),
        ended=many(ended),
        gaps=many(GAP),
        spared=many(TEXT),
        excluded=table(TEXT),
        notes=many(TEXT),
        partial=BOOL,
    )
