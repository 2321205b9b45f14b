"""How often a request that went unanswered is made again."""

from __future__ import annotations

from urllib3 import Retry
from urllib3.exceptions import ReadTimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from urllib3 import BaseHTTPResponse
    from urllib3.connectionpool import ConnectionPool

TIMES = 3
BACKOFF = 0.1
"""Seconds: at once, then after two and four times that."""


class Again(Retry):
    """An API server that replaces a definition, or ends, closes connections without an answer for some time.

    A patch says what shall be, so it may be said twice, unlike a creation. A server that stays silent for as long as an
    answer may take is asked once more only.
    """

    @classmethod
    def usual(cls) -> Self:
        """As often as is worth it."""
        return cls(TIMES, backoff_factor=BACKOFF, allowed_methods={*Retry.DEFAULT_ALLOWED_METHODS, "PATCH"})

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """What is left after one more failure.

        :raises MaxRetryError: if that is nothing.
        """
        left = super().increment(method, url, response, error, _pool, _stacktrace)
        if isinstance(error, ReadTimeoutError):
            left.read = 0
        return left
