"""The agent's image: built from the files that ship, named by their content, found again by that name."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

from pytest_k8s_netem.kube.programs import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "pytest-k8s-netem/agent"
DOCKERFILE = "agent.Dockerfile"
PACKAGE = Path(__file__).parent.parent
SHIPPED = ("__init__.py", "errors.py", "agent", "model")
"""What of the package runs in a container, see the import contract of the agent."""
PROGRAM = ("python3", "-I", "-S", "/opt/netem/pytest_k8s_netem/agent")
"""The agent inside its image."""
SOCKET = "/dev/netem"
"""Where its keeper listens: the one writable place of a container whose root is read-only, and of it alone."""


def files() -> dict[str, bytes]:
    """The build context: file contents by path, in order."""
    found = {"Dockerfile": (PACKAGE / "kube" / DOCKERFILE).read_bytes()}
    for name in SHIPPED:
        root = PACKAGE / name
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            found[f"pytest_k8s_netem/{path.relative_to(PACKAGE).as_posix()}"] = path.read_bytes()
    return found


def tag(context: Mapping[str, bytes]) -> str:
    """The image's name: the same files give the same one."""
    digest = hashlib.sha256()
    for path, data in sorted(context.items()):
        digest.update(f"{path}\0{len(data)}\0".encode() + data)
    return f"{NAME}:{digest.hexdigest()[:16]}"


def archive(context: Mapping[str, bytes]) -> bytes:
    """The build context as ``docker build -`` reads it; the same files give the same bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, data in sorted(context.items()):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


async def built() -> str:
    """The name of the agent's image, which Docker has when this returns.

    :raises ProviderError: if Docker is missing or cannot build it.
    """
    context = files()
    name = tag(context)
    if not await run("docker", "image", "inspect", "--format", "{{.Id}}", name, check=False):
        await run("docker", "build", "--quiet", "--tag", name, "-", stdin=archive(context))
    return name
