"""What to say of a kubeconfig that names no cluster."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NOTHING = "No configuration found"
"""So the client says that there is no file, or nothing in it."""


def reason(path: str | None, context: str | None, names: Sequence[str], error: Exception) -> str:
    """Why it names none, and what would be right; else what the client said.

    :param path: as it was given; None = the usual ones. :param names: contexts that it has, as far as is known.
    """
    if NOTHING in str(error):
        where = "KUBECONFIG or --netem-kubeconfig (--kubeconfig for the command netem)"
        return "it is empty, or not there" if path else f"there is none in ~/.kube/config; name a file by {where}"
    if context and names and context not in names:
        return f"it has no context of that name; there are: {', '.join(names)}"
    return str(error)
