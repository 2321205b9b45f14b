"""What to tell a user whose machine does not let us make namespaces."""

from __future__ import annotations

import errno
import platform
from pathlib import Path

from pytest_k8s_netem.errors import ProviderError

_SYSCTLS = (
    # Ubuntu 23.10 and later; Debian's patch; a limit of every kernel (namespaces(7)).
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "15000"),
)


def not_linux() -> ProviderError | None:
    """The error where there are no namespaces at all; None on Linux."""
    system = platform.system()
    if system == "Linux":
        return None
    return ProviderError(
        f"the embedded cluster needs Linux, this is {system}; "
        "run in a Linux machine or container, or name a cluster of another provider"
    )


def refused(step: str, number: int) -> ProviderError:
    """The error for a step of the isolation that ended with an errno."""
    why = f"{step}: {errno.errorcode.get(number, number)}"
    if (step, number) == ("mount /", errno.EINVAL):
        return ProviderError(
            f"the embedded cluster cannot make its namespaces in a chroot ({why}); run outside of it, in a container, "
            "or in a guest kernel: pytest --netem-guest"
        )
    return ProviderError(
        f"this machine does not let the embedded cluster make its namespaces ({why}); {_cause()}"
        "or run as root: sudo -E $(which python) -m pytest ...; "
        "or run in a guest kernel that needs neither: pytest --netem-guest"
    )


def _cause(root: Path = Path("/proc/sys")) -> str:
    for name, closed, opened in _SYSCTLS:
        path = root / name.replace(".", "/")
        try:
            value = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        if value == closed:
            return f"{name} is {value}: allow it by `sudo sysctl -w {name}={opened}`; "
    return "user namespaces are refused by a security module, by a container's seccomp profile, or in a chroot; "
