"""Impairments that belong to no test: made by the cluster's handle, in fixtures of any scope."""

from __future__ import annotations

from dataclasses import replace

from pytest_k8s_netem.cluster.chaos import RUN_LEVEL, Netem
from pytest_k8s_netem.cluster.findings import Strictness
from pytest_k8s_netem.cluster.impaired import ImpairedTest
from pytest_k8s_netem.errors import ProofError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_k8s_netem.cluster.imposition import Imposition
    from pytest_k8s_netem.cluster.session import Session
    from pytest_k8s_netem.cluster.spec import Spec


class WideImpairments(ImpairedTest):
    """Blocks outside any test; what is found wrong when one ends is raised there, since no test tells it."""

    async def end_block(self, imposition: Imposition, spec: Spec, error: BaseException | None) -> None:
        """See :meth:`ImpairedTest.end_block`.

        :raises ProofError: if it has not held, or met nothing.
        """
        before = len(self.found)
        await super().end_block(imposition, spec, error)
        wrong = [finding.text for finding in self.found[before:] if finding.level == "error"]
        if wrong and error is None:
            raise ProofError("\n".join(wrong))


def wide(session: Session, namespace: str) -> Netem:
    """What impairs pods of a namespace for the length of blocks of any scope."""
    reader = replace(session.reader(namespace, namespace, (session.choices.folder,)), labels=session.identity.labels())
    return Netem(session, reader, WideImpairments(session, "", reader, Strictness()), RUN_LEVEL)
