"""Many agents in one process: ``python crowd.py FOLDER FIRST COUNT``, each with a keeper and a socket of its own.

The agent's real program but for its kernel: frames, sessions, plans, acknowledgements are real, netlink is in memory.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from fakeground import CAPABILITIES, FakeGround, FakeKernel, FakeSink

from pytest_k8s_netem.agent.keeper import Keeper
from pytest_k8s_netem.agent.loop import Loop
from pytest_k8s_netem.agent.serve import _listen
from pytest_k8s_netem.agent.session import Session
from pytest_k8s_netem.agent.stream import Stream


def main(folder: Path, first: int, count: int) -> None:
    loop = Loop()
    FakeSink.watch = lambda _sink: None  # type: ignore[method-assign]  # no worker to watch, as with netem
    for number in range(first, first + count):
        keeper = Keeper(loop, lambda: CAPABILITIES, lingers=True)
        keeper.add(f"default/pod-{number}", FakeGround(FakeKernel(up={"eth0": True})))
        listen(loop, keeper, str(folder / str(number)))
    (folder / f"ready-{first}").touch()
    loop.run()


def listen(loop: Loop, keeper: Keeper, path: str) -> None:
    listener = _listen(path)

    def accept(_events: int) -> None:
        opened: list[Session] = []
        stream = Stream(
            loop,
            listener.accept()[0],
            lambda frame: keeper.receive(opened[0], frame),
            lambda: keeper.end(opened[0]),
        )
        opened.append(keeper.open(stream))

    loop.watch(listener.fileno(), accept)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
