"""Several processes share one thing; real processes, real locks, real deaths."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from pytest_k8s_netem.kube import image
from pytest_k8s_netem.run.sharing import Share

USER = """
import asyncio, sys
from pathlib import Path
from pytest_k8s_netem.run.sharing import Share

async def main():
    share = Share(Path(sys.argv[1]), "thing")
    async with share.alone():
        share.join()
        first = not share.note.exists()
        share.note.write_text("made")
    print("first" if first else "later", flush=True)
    sys.stdin.readline()
    async with share.alone():
        last = share.leave()
    print("last" if last else "not last", flush=True)

asyncio.run(main())
"""


class User:
    """A process that joins, and leaves when it is told."""

    def __init__(self, folder: Path) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(folder)], stdin=pipe, stdout=pipe, text=True, cwd=image.PACKAGE.parent
        )
        assert self.process.stdout is not None
        self.stdout = self.process.stdout
        self.came = self.stdout.readline().strip()

    def leaves(self) -> str:
        said, _ = self.process.communicate("\n", timeout=30)
        return said.strip()

    def dies(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_the_last_of_several_is_told_so_and_nothing_stays(tmp_path: Path) -> None:
    users = [User(tmp_path) for _ in range(3)]
    assert [user.came for user in users] == ["first", "later", "later"]
    assert [user.leaves() for user in users] == ["not last", "not last", "last"]
    assert not list(tmp_path.iterdir())


def test_who_is_killed_uses_it_no_more(tmp_path: Path) -> None:
    one, other = User(tmp_path), User(tmp_path)
    one.dies()
    assert other.leaves() == "last"


def test_what_all_who_died_noted_is_nothing_to_the_next(tmp_path: Path) -> None:
    for user in [User(tmp_path), User(tmp_path)]:
        user.dies()
    user = User(tmp_path)
    assert (user.came, user.leaves()) == ("first", "last")
    assert not list(tmp_path.iterdir())


def test_nobody_else_is_in_while_one_is_alone(tmp_path: Path) -> None:
    async def main() -> None:
        inside = 0

        async def use(share: Share) -> None:
            nonlocal inside
            async with share.alone():
                inside += 1
                assert inside == 1
                await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*(use(Share(tmp_path, "thing")) for _ in range(8)))

    asyncio.run(main())
