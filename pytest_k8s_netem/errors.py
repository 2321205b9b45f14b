"""Every error the project raises on purpose, by who must act; imports nothing of the project.

One base class, so that a caller can catch them all; the children say whose move it is.
The message is complete on its own: what failed, what was seen, what would be right.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_k8s_netem.model.problem import Problem


class NetemError(Exception):
    """Base of all errors raised on purpose.

    :ivar problems: the single refusals behind the message; empty when there is only one thing to say.
    """

    def __init__(self, message: str = "", problems: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems)
        lines = [message] if message else []
        lines += [str(problem) for problem in self.problems]
        super().__init__("\n".join(lines))


class ConfigError(NetemError):
    """The user must act: a marker, option, profile or manifest is invalid."""


class ProviderError(NetemError):
    """The machine lacks something: a privilege, a kernel feature, a program."""


class ClusterError(NetemError):
    """The cluster did not do what was asked: a pod did not start, a command ended badly, a wait ran out."""


class ApiError(ClusterError):
    """The API server refused a request.

    :ivar status: HTTP status code (404, 409, 410, 422 ...).
    :ivar reason: Kubernetes' own word for it (``NotFound``, ``Conflict``, ``Expired``, ``Invalid`` ...).
    """

    def __init__(self, status: int, reason: str, message: str = "", problems: Iterable[Problem] = ()) -> None:
        self.status = status
        self.reason = reason
        super().__init__(message or reason, problems)


class ImpairmentError(NetemError):
    """An agent or its kernel refused, or lost, an impairment."""


class NotApplied(ImpairmentError):
    """A handle was used before its impairment was set up."""


class ProofError(ImpairmentError):
    """An impairment could not be proven: it did not take effect, or did not last for the whole test."""


class TeardownError(NetemError):
    """Something could not be removed; the message says what is left and which command removes it."""
