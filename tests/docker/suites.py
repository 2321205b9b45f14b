"""A run of pytest in a folder and a home of its own, watched from outside."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import textwrap
from pathlib import Path

from beside import until
from people import Who
from watched import Watched

PASSED_ON = ("PATH", "LANG", "DOCKER_HOST", "TESTCONTAINERS_RYUK_DISABLED")


class Suite(Watched):
    """Started when it is made; ``conftest.py`` is :mod:`suite_conftest`."""

    def __init__(self, folder: Path, who: Who, source: str, *options: str, **environment: str) -> None:
        self.folder, self.who = folder, who
        self.home = folder / "home"
        for path in (self.home, folder / "tmp"):
            path.mkdir(mode=0o700)
        shutil.copy(Path(__file__).with_name("suite_conftest.py"), folder / "conftest.py")
        whole = source if "import pytest" in source else "import pytest\n\n" + textwrap.dedent(source)
        (folder / "test_it.py").write_text(whole)
        (folder / "pytest.ini").write_text("[pytest]\n")
        who.own(folder)
        env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        env |= {"HOME": str(self.home), "TMPDIR": str(folder / "tmp"), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
        env |= {"DOCKER_BUILDKIT": "0", **who.environment, **environment}
        self.printed = folder / "output"
        argv = [
            *who.become,
            who.python,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-v",
            "--netem-missing=fail",
            *options,
        ]
        with self.printed.open("wb") as output:
            self.process = subprocess.Popen(
                argv,
                env=env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def reached(self, sign: str) -> None:
        """Wait until the suite has come to a place."""
        until(lambda: (self.home / sign).exists() or self.process.poll() is not None, sign, 90)
        assert (self.home / sign).exists(), f"it ended before {sign}: {self.output}"

    def allow(self, sign: str) -> None:
        """Let the suite go on."""
        (self.home / sign).touch()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to pytest itself: setpriv and env become it."""
        os.kill(self.process.pid, number)

    def close(self) -> None:
        """End what a failed test has left running, and remove the folder."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
