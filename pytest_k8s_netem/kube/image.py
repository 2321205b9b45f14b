"""The project's two images: built from the files that run there, named by their content, found again by that name."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from pytest_k8s_netem.kube.dependencies import REQUIREMENTS, installed
from pytest_k8s_netem.kube.programs import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGE = Path(__file__).parent.parent
PROGRAM = ("python3", "-I", "-S", "/opt/netem/pytest_k8s_netem/agent/__main__.py")
"""The agent inside its image, and inside the controller's, where it relays."""
SOCKET = "/dev/netem"
"""Where its keeper listens: the one writable place of a container whose root is read-only, and of it alone."""


@dataclass(frozen=True)
class Image:
    """What one image is made of.

    :ivar name: without a tag. :ivar dockerfile: beside this module. :ivar shipped: what of the package runs in it.
    :ivar requirements: packages of others, as pip reads them; () = Python's standard library alone.
    """

    name: str
    dockerfile: str
    shipped: tuple[str, ...]
    requirements: tuple[str, ...] = ()

    def files(self) -> dict[str, bytes]:
        """Our part of the build context: file contents by path, in order."""
        found = {"Dockerfile": (PACKAGE / "kube" / self.dockerfile).read_bytes()}
        if self.requirements:
            found["requirements.txt"] = "\n".join(self.requirements).encode()
        for name in self.shipped:
            root = PACKAGE / name
            for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
                found[f"pytest_k8s_netem/{path.relative_to(PACKAGE).as_posix()}"] = path.read_bytes()
        return found


AGENT = Image("pytest-k8s-netem/agent", "agent.Dockerfile", ("__init__.py", "errors.py", "agent", "model"))
"""See the import contract of the agent."""
CONTROLLER = Image(
    "pytest-k8s-netem/controller",
    "controller.Dockerfile",
    ("__init__.py", "errors.py", "agent", "model", "profile", "resolve", "judge", "run", "api", "controller", "kube"),
    REQUIREMENTS,
)
"""The rooms up to kube, and the agent's relay; neither pytest nor what builds the embedded cluster."""


def tag(image: Image, files: Mapping[str, bytes]) -> str:
    """The image's name: the same files give the same one."""
    digest = hashlib.sha256()
    for path, data in sorted(files.items()):
        digest.update(f"{path}\0{len(data)}\0".encode() + data)
    return f"{image.name}:{digest.hexdigest()[:16]}"


def archive(files: Mapping[str, bytes], dependencies: Path | None = None) -> bytes:
    """The build context as ``docker build -`` reads it; the same files give the same bytes.

    :param dependencies: a folder that goes in under this name.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, data in sorted(files.items()):
            _add(tar, path, data)
        if dependencies is not None:
            for file in sorted(dependencies.rglob("*")):
                if file.is_file():
                    _add(tar, f"dependencies/{file.relative_to(dependencies).as_posix()}", file.read_bytes())
    return packed.getvalue()


async def built(image: Image) -> str:
    """The name of an image, which Docker has when this returns.

    :raises ProviderError: if Docker is missing or cannot build it, or what it needs of others cannot be had.
    """
    files = image.files()
    name = tag(image, files)
    if not await run("docker", "image", "inspect", "--format", "{{.Id}}", name, check=False):
        dependencies = await installed(image.requirements) if image.requirements else None
        await run("docker", "build", "--quiet", "--tag", name, "-", stdin=archive(files, dependencies))
    return name


def _add(tar: tarfile.TarFile, path: str, data: bytes) -> None:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(data), 0o644
    tar.addfile(entry, io.BytesIO(data))
