"""Errors that were raised on purpose, as pytest shows them: they end at the user's own line, where he can act."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from pytest_k8s_netem.errors import NetemError, ProviderError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

PACKAGE = str(Path(__file__).parents[1]) + "/"


def shorten(error: BaseException | None) -> None:
    """Cut off what lies below the user's call into this package; errors of any other kind keep all of it."""
    while isinstance(error, NetemError | AssertionError):
        _cut(error.__traceback__)
        error = error.__cause__ or error.__context__


def skipped(excinfo: pytest.ExceptionInfo[BaseException]) -> pytest.ExceptionInfo[BaseException]:
    """A skip in place of an error about what the machine lacks; any other error as it is."""
    if not isinstance(excinfo.value, ProviderError):
        return excinfo
    skip = pytest.skip.Exception(str(excinfo.value))
    return pytest.ExceptionInfo.from_exc_info((type(skip), skip, excinfo.tb))


def once(report: pytest.TestReport, told: dict[str, str]) -> None:
    """Leave a long error in full to the first test that tells it; the others name that one."""
    text = str(report.longrepr)
    first = told.setdefault(text, report.nodeid)
    lines = text.splitlines()
    if first != report.nodeid and len(lines) > 1:
        report.longrepr = f"{lines[0]}\nall of it: {first}"


def _cut(entry: TracebackType | None) -> None:
    users: TracebackType | None = None
    while entry is not None:
        name = entry.tb_frame.f_code.co_filename
        if name.startswith(PACKAGE):
            if users is not None:
                users.tb_next = None
            return
        if name != contextlib.__file__:  # between a with statement and our context manager
            users = entry
        entry = entry.tb_next
