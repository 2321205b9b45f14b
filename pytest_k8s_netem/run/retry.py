"""Every policy of trying again, in one place: each ends at a deadline or says that it never ends. Times in seconds."""

from __future__ import annotations

import random

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tenacity import AsyncRetrying, Retrying

_random = random.Random()  # of its own, so that a test's seed neither decides nor feels it


def backoff(failures: int, first: float = 0.02, most: float = 5.0) -> float:
    """How long to wait after ``failures`` (1, 2, ...) in a row: doubling up to ``most``, a tenth at random."""
    return float(min(most, first * 2 ** min(failures - 1, 30)) * (0.9 + _random.random() / 10))


def pace(waited: float, least: float = 0.05, most: float = 5.0) -> float:
    """How long to wait before another look for what nobody tells of, after ``waited`` in all: a quarter of that.

    What is soon there is found soon, and what takes a minute is looked for some thirty times.
    """
    return min(most, max(least, waited / 4))


def attempts(
    seconds: float, *errors: type[BaseException], first: float = 0.02, most: float = 1.0, tries: int = 0
) -> AsyncRetrying:
    """``async for attempt in attempts(5, OSError): with attempt: ...``: again after these errors until the deadline.

    The last error is raised as it is.

    :param tries: most attempts; 0 = as many as the deadline allows.
    """
    from tenacity import AsyncRetrying

    return AsyncRetrying(**_policy(seconds, errors, first, most, tries))


def blocking_attempts(
    seconds: float, *errors: type[BaseException], first: float = 0.02, most: float = 1.0, tries: int = 0
) -> Retrying:
    """The same for code outside the event loop."""
    from tenacity import Retrying

    return Retrying(**_policy(seconds, errors, first, most, tries))


def _policy(seconds: float, errors: tuple[type[BaseException], ...], first: float, most: float, tries: int) -> dict:  # type: ignore[type-arg]
    from tenacity import retry_if_exception_type, stop_after_attempt, stop_before_delay, wait_random_exponential
    from tenacity.stop import stop_base

    stop: stop_base = stop_before_delay(seconds)
    if tries:
        stop |= stop_after_attempt(tries)
    return {
        "stop": stop,
        "wait": wait_random_exponential(multiplier=first, max=most),
        "retry": retry_if_exception_type(errors or (Exception,)),
        "reraise": True,
    }
