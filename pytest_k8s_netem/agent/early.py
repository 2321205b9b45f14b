"""The parts in C beneath :mod:`signal` and :mod:`socket`, for what an agent does before its first word.

Both modules give their numbers names by :mod:`enum`, and what that imports takes as long to load as all of an agent
that a hello needs. A socket of this kind has no ``with`` and no ``accept``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import socket
else:
    import _signal as signal
    import _socket as socket

__all__ = ["signal", "socket"]
