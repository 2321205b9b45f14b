"""The program ``docker``, with the way out where it cannot be used."""

from __future__ import annotations

from pytest_k8s_netem.errors import ProviderError
from pytest_k8s_netem.kube.programs import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_START = "start it (sudo systemctl start docker), or name another daemon by DOCKER_HOST"
_FIXES = (
    (
        "permission denied",
        "attaching containers needs access to Docker's socket, not root: sudo usermod -aG docker $USER, then log in "
        "anew; or name a daemon of your own by DOCKER_HOST",
    ),
    ("cannot connect", _START),
    ("failed to connect", _START),  # as newer programs say it
)
"""By what Docker says (lower case), what to do about it."""


async def docker(*arguments: str, **options: Any) -> str:
    """Run it to its end: its standard output.

    :param options: as of :func:`pytest_k8s_netem.kube.programs.run`.
    :raises ProviderError: if it is missing, refuses this user, does not answer or fails.
    """
    try:
        return await run("docker", *arguments, **options)
    except ProviderError as error:
        said = str(error).lower()
        fix = next((fix for sign, fix in _FIXES if sign in said), "")
        raise (ProviderError(f"{error}\n{fix}") if fix else error) from None
