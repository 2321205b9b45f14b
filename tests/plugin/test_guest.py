"""pytest in a user-mode-linux guest: the same command, the same results, and nothing left."""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import termios
import time
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

import pytest

import pytest_k8s_netem
from pytest_k8s_netem.errors import ConfigError, ProviderError
from pytest_k8s_netem.guest import keeping, needs

ASK = """
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    from pytest_k8s_netem.guest.command import main
    return main(config)
"""
"""A plugin that asks for a guest; the project's own does so for an option."""

DRIVER = """
import sys
from pytest_k8s_netem.errors import ProviderError
from pytest_k8s_netem.guest.run import run_in_guest

options = eval(sys.argv[1])
try:
    sys.exit(run_in_guest(sys.argv[2:], **options))
except ProviderError as error:
    sys.exit(f"ProviderError: {error}")
"""

PATIENCE = 60.0
"""Seconds until a condition must hold; a bound for broken code, never what decides between right and wrong."""


class Outside:
    """A folder on the host with tests in it, and commands that run them in a guest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        (folder / "ask.py").write_text(ASK)
        (folder / "driver.py").write_text(DRIVER)
        (folder / "pytest.ini").write_text("[pytest]\n")
        package = Path(pytest_k8s_netem.__file__).parents[1]
        self.env = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(folder), str(package), os.environ.get("PYTHONPATH", "")]),
            "TMPDIR": str(self.temporary),
        }
        for name in ("PYTEST_ADDOPTS", "PYTEST_DEBUG_TEMPROOT", "PYTEST_PLUGINS"):
            self.env.pop(name, None)

    def test(self, source: str) -> None:
        (self.folder / "test_it.py").write_text(source)

    def start(self, *argv: str, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*before, *argv],
            cwd=self.folder,
            env=self.env,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def pytest(self, *args: str) -> subprocess.Popen[str]:
        return self.start(sys.executable, "-m", "pytest", "-p", "ask", "-p", "no:cacheprovider", *args)

    def drive(self, options: str, *argv: str) -> subprocess.Popen[str]:
        return self.start(sys.executable, "driver.py", options, *argv)

    def processes(self) -> list[int]:
        """All whose command line names this folder, and all in their process groups: guests, stubs, reapers."""
        mine = {os.getpgid(pid) for pid in _pids() if str(self.temporary).encode() in _read(pid, "cmdline")}
        return [pid for pid in _pids() if _group(pid) in mine]

    def wait_for_nothing(self) -> None:
        """Until no process and no file is left; fails when they stay."""
        wait_until(lambda: not self.processes() and not list(self.temporary.iterdir()))


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _parent(pid: int) -> int:
    found = re.search(rb"^PPid:\s*(\d+)", _read(pid, "status"), re.MULTILINE)
    return int(found[1]) if found else 0


def _folder(pid: int) -> str:
    """The guest's folder that a process's command line names, "" = none."""
    found = re.search(rb"[^\0=\"]*/netem-guest-[^\0/]+", _read(pid, "cmdline"))
    return found[0].decode() if found else ""


def wait_until(holds) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "never came true"
        time.sleep(0.05)


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path)


uml = pytest.mark.needs("uml")


@uml
@pytest.mark.parametrize(
    ("source", "status"), [("def test(): pass", 0), ("def test(): assert 0", 1), ("", 5), ("def", 2)]
)
def test_exit_status_is_pytests_own(outside: Outside, source: str, status: int) -> None:
    outside.test(source)
    run = outside.pytest()
    output, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == status, output
    outside.wait_for_nothing()


@uml
@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_guest_is_asked_for_once(outside: Outside, how: str) -> None:
    outside.test("import os\ndef test(): assert os.environ['NETEM_INSIDE_GUEST'] == '1'")
    installed = any(point.name == "netem" for point in importlib.metadata.entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "pytest_k8s_netem.plugin"]
    if how == "environment":
        outside.env["NETEM_GUEST"] = "1"
    asked = ["--netem-guest"] if how == "option" else []
    run = outside.start(sys.executable, "-m", "pytest", *plugin, "-p", "no:cacheprovider", *asked)
    output, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, output + errors
    assert output.count("test session starts") == 1


@uml
def test_paths_and_environment_mean_what_they_mean_outside(outside: Outside, tmp_path: Path) -> None:
    outside.env["SEEN"] = "in both"
    outside.test(
        f"""
import os, pathlib, sys
def test(tmp_path, record_property, pytestconfig):
    record_property("cwd", os.getcwd())
    record_property("python", sys.executable)
    record_property("seen", os.environ["SEEN"])
    record_property("rootdir", pytestconfig.rootpath)
    record_property("kernel", os.uname().release)
    (tmp_path / "file").write_text("kept")
    assert pathlib.Path({__file__!r}).exists()
"""
    )
    report, base = tmp_path / "report.xml", tmp_path / "base"
    run = outside.pytest(f"--junitxml={report}", f"--basetemp={base}", "-o", "junit_family=xunit2")
    output, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, output + errors
    found = {item.get("name"): item.get("value") for item in ElementTree.parse(report).iter("property")}
    assert found == {
        "cwd": str(tmp_path),
        "python": sys.executable,
        "seen": "in both",
        "rootdir": str(tmp_path),
        "kernel": needs.kernel_release(),
    }
    assert (base / "test0" / "file").read_text() == "kept"


@uml
@pytest.mark.needs("tc")
def test_the_guest_can_impair(outside: Outside) -> None:
    outside.test(
        """
import subprocess
def test():
    subprocess.run("tc qdisc add dev lo root netem delay 3ms loss 1% && tc qdisc show dev lo", shell=True, check=True)
"""
    )
    run = outside.pytest("-s")
    output, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, errors
    assert "netem" in output
    assert "delay 3ms" in output


@uml
def test_output_comes_while_the_command_runs(outside: Outside, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    run = outside.drive(
        "{}", "sh", "-c", f"echo first; echo aside >&2; until [ -e {heard} ]; do sleep 0.1; done; echo last"
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "first\n"
    heard.touch()
    output, errors = run.communicate(timeout=PATIENCE)
    assert (output, errors, run.returncode) == ("last\n", "aside\n", 0)


@uml
def test_output_arrives_whole_and_unchanged(outside: Outside) -> None:
    program = "import os; os.write(1, bytes(range(256))); print(*range(50_000), sep='\\n\\n')"
    run = subprocess.run(
        [sys.executable, "driver.py", "{}", sys.executable, "-c", program],
        cwd=outside.folder,
        env=outside.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert run.stdout == bytes(range(256)) + "\n\n".join(map(str, range(50_000))).encode() + b"\n"


@uml
def test_output_into_a_pipe_that_does_not_block_arrives_whole(outside: Outside) -> None:
    """As programs that wait for many things at once give it to those that they start."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    run = subprocess.Popen(
        [sys.executable, "driver.py", "{}", sys.executable, "-c", "print('x' * 500_000)"],
        cwd=outside.folder,
        env=outside.env,
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    wait_until(lambda: _waiting(reading) >= 1 << 16)  # it is full
    with os.fdopen(reading, "rb") as pipe:
        output = pipe.read()
    assert (len(output), run.communicate(timeout=PATIENCE)[1], run.returncode) == (500_001, b"", 0)


def _waiting(pipe: int) -> int:
    """Bytes in it (FIONREAD)."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


@uml
def test_ctrl_c_interrupts_the_guests_pytest(outside: Outside, tmp_path: Path) -> None:
    outside.test(
        f"""
import pathlib, time, pytest
@pytest.fixture
def thing():
    yield
    pathlib.Path({str(tmp_path)!r}, "torn-down").touch()
def test(thing):
    pathlib.Path({str(tmp_path)!r}, "started").touch()
    time.sleep(1000)
"""
    )
    run = outside.pytest()
    wait_until((tmp_path / "started").exists)
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == 2, output
    assert "KeyboardInterrupt" in output
    assert (tmp_path / "torn-down").exists()
    outside.wait_for_nothing()


@uml
def test_a_second_ctrl_c_ends_the_guest(outside: Outside) -> None:
    stubborn = "trap 'echo no' INT; echo up; while :; do sleep 0.1; done"
    run = outside.drive("{}", "sh", "-c", stubborn)
    assert run.stdout is not None
    assert run.stdout.readline() == "up\n"
    run.send_signal(signal.SIGINT)
    assert run.stdout.readline() == "no\n"
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=PATIENCE)
    assert run.returncode == 2
    outside.wait_for_nothing()


@uml
def test_a_hung_guest_is_ended(outside: Outside) -> None:
    run = outside.drive("{'silence_timeout': 8}", "sh", "-c", "echo up; sleep 1000")
    assert run.stdout is not None
    assert run.stdout.readline() == "up\n"
    for pid in outside.processes():
        if b"linux.uml" in _read(pid, "cmdline"):
            os.kill(pid, signal.SIGSTOP)
    _, errors = run.communicate(timeout=PATIENCE)
    assert "ProviderError: the guest hung: no sign of life for 8 s" in errors
    outside.wait_for_nothing()


@uml
@pytest.mark.parametrize("command", ["sleep 1000", "yes"])
def test_the_time_for_everything_ends(outside: Outside, command: str) -> None:
    run = outside.drive("{'timeout': 4}", *command.split())
    _, errors = run.communicate(timeout=PATIENCE)
    assert "ProviderError: the guest was ended after 4 s" in errors
    outside.wait_for_nothing()


@uml
def test_a_guest_that_does_not_start_is_ended(outside: Outside) -> None:
    run = outside.drive("{'boot_timeout': 0.05}", "true")
    _, errors = run.communicate(timeout=PATIENCE)
    assert "ProviderError: the guest did not start within 0.05 s" in errors
    outside.wait_for_nothing()


@uml
@pytest.mark.parametrize("frozen", [False, True], ids=["alive", "frozen"])
def test_nothing_is_left_when_pytest_is_killed(outside: Outside, frozen: bool) -> None:
    run = outside.drive("{}", "sh", "-c", "echo up; sleep 1000")
    assert run.stdout is not None
    assert run.stdout.readline() == "up\n"
    kernels = [pid for pid in outside.processes() if b"linux.uml" in _read(pid, "cmdline")]
    assert kernels
    if frozen:
        for pid in kernels:
            os.kill(pid, signal.SIGSTOP)
    run.kill()
    run.communicate(timeout=PATIENCE)
    outside.wait_for_nothing()
    assert not list(Path("/dev/shm").glob("vm_file*"))


@uml
def test_a_sweep_takes_what_a_dead_guest_left_and_nothing_of_a_living_one(outside: Outside) -> None:
    """Its reaper is killed with it, as at the end of a container."""
    runs = [outside.drive("{}", "sh", "-c", "echo up; sleep 1000") for _ in range(2)]
    for run in runs:
        assert run.stdout is not None
        assert run.stdout.readline() == "up\n"
    dead, living = runs
    [folder] = {_folder(pid) for pid in outside.processes() if _parent(pid) == dead.pid} - {""}
    dead.send_signal(signal.SIGSTOP)  # so that it does not see its guest end, and clean up
    for pid in outside.processes():
        if _folder(pid) == folder:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    wait_until(lambda: folder not in {_folder(pid) for pid in outside.processes()})
    dead.kill()
    dead.communicate(timeout=PATIENCE)
    outside.env |= {"PATH": "/nonexistent", "XDG_RUNTIME_DIR": ""}  # nothing of Docker, or of other runs
    netem = [sys.executable, "-c", "from pytest_k8s_netem.cli import main; raise SystemExit(main())", "sweep"]
    said, errors = outside.start(*netem).communicate(timeout=PATIENCE)
    assert (said, errors) == (f"removed folder {folder} of a guest\n", "")
    assert not Path(folder).exists()
    assert len(list(outside.temporary.glob("netem-guest-*"))) == 1
    living.kill()
    living.communicate(timeout=PATIENCE)
    outside.wait_for_nothing()


@uml
def test_a_guest_that_dies_says_its_last_words(outside: Outside) -> None:
    run = outside.drive("{}", "sh", "-c", "echo c > /proc/sysrq-trigger")
    _, errors = run.communicate(timeout=PATIENCE)
    assert "ProviderError: the guest died" in errors
    assert "Kernel panic" in errors
    outside.wait_for_nothing()


@uml
def test_temporary_files_may_be_where_the_guest_cannot_see(outside: Outside) -> None:
    outside.env["TMPDIR"] = "/dev/shm"
    run = outside.drive("{}", "sh", "-c", "echo $TMPDIR; touch $TMPDIR/x")
    output, errors = run.communicate(timeout=PATIENCE)
    assert (output, errors, run.returncode) == ("/dev/shm/tmp\n", "", 0)


@uml
def test_evidence_of_a_failed_test_outlives_the_guest_and_that_of_old_runs_goes(outside: Outside) -> None:
    """A process's number that is free by now ends the names of older runs' folders."""
    base = outside.temporary / f"netem-evidence-{os.getuid()}"
    gone = subprocess.Popen(["true"])
    gone.wait()
    for day in range(1, 6):
        base.joinpath(f"2025010{day}-000000-{gone.pid}", "a test").mkdir(parents=True)
    base.joinpath(f"20250101-000000-{os.getpid()}").mkdir()
    base.chmod(0o700)
    outside.test("def test(netem_namespace): assert False")
    run = outside.start(sys.executable, "-m", "pytest", "--netem-guest", "-p", "no:cacheprovider")
    output, _ = run.communicate(timeout=4 * PATIENCE)
    assert run.returncode == 1, output
    (told,) = re.findall(r"all of it: (\S+)", output)
    assert Path(told).is_relative_to(base)
    assert list(Path(told).iterdir())
    names = sorted(path.name for path in base.iterdir())
    assert names[:-1] == [
        f"20250101-000000-{os.getpid()}",
        f"20250104-000000-{gone.pid}",
        f"20250105-000000-{gone.pid}",
    ]
    assert Path(told).is_relative_to(base / names[-1])


def test_a_folder_of_somebody_else_takes_no_evidence(tmp_path: Path) -> None:
    assert not keeping.evidence_folder(tmp_path / "new").exists()
    open_to_all, own, file = tmp_path / "open", tmp_path / "own", tmp_path / "file"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    own.mkdir()
    own.chmod(0o755)
    (tmp_path / "link").symlink_to(own)
    file.touch(0o644)
    for path in (tmp_path / "link", open_to_all, file):
        before = path.stat().st_mode
        with pytest.raises(ProviderError, match="is not a directory that this user alone can enter"):
            keeping.evidence_folder(path)
        assert path.stat().st_mode == before


@pytest.mark.needs("root")
def test_a_folder_of_another_user_stays_as_it_is(tmp_path: Path) -> None:
    base = tmp_path / "theirs"
    base.mkdir()
    base.chmod(0o755)
    os.chown(base, 65534, 65534)
    with pytest.raises(ProviderError, match="is not a directory that this user alone can enter"):
        keeping.evidence_folder(base)
    assert stat.S_IMODE(base.stat().st_mode) == 0o755


def test_an_older_versions_folder_is_closed_to_others(tmp_path: Path) -> None:
    base = tmp_path / "older"
    base.mkdir()
    base.chmod(0o755)
    assert keeping.evidence_folder(base).parent == base
    assert stat.S_IMODE(base.stat().st_mode) == 0o700


@uml
def test_a_command_that_is_not_there_is_named(outside: Outside) -> None:
    run = outside.drive("{}", "no-such-command")
    _, errors = run.communicate(timeout=PATIENCE)
    assert "the guest could not run the command" in errors
    assert "no-such-command" in errors


@uml
@pytest.mark.needs("root")
def test_an_ordinary_user_has_root_in_the_guest(request: pytest.FixtureRequest) -> None:
    folder = Path(tempfile.mkdtemp(prefix="ordinary-"))
    request.addfinalizer(lambda: shutil.rmtree(folder))
    python = _python_for_everyone(folder)
    outside = Outside(folder)
    outside.env |= {"PYTHONPATH": f"{folder}:{folder}/packages", "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    outside.test(
        """
import os, subprocess
def test(tmp_path):
    assert os.geteuid() == 0
    os.chown(tmp_path, 33, 33)
    assert tmp_path.stat().st_uid == 33
    subprocess.run(["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "3ms"], check=True)
"""
    )
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 1001, 1001)
    run = outside.start(
        *(python, "-m", "pytest", "-p", "ask", "-p", "no:cacheprovider", "--junitxml=report.xml"),
        before=("setpriv", "--reuid", "1001", "--regid", "1001", "--clear-groups", "--bounding-set=-all"),
    )
    output, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, output + errors
    assert (folder / "report.xml").stat().st_uid == 1001
    outside.wait_for_nothing()


def _python_for_everyone(folder: Path) -> str:
    """An interpreter that any user may run, and pytest and this package where any user may read them."""
    python = "/usr/bin/python3"
    version = [python, "-c", "import sys; print(sys.version_info >= (3, 11))"]
    if not os.path.exists(python) or subprocess.run(version, capture_output=True, check=False).stdout != b"True\n":
        pytest.skip("no /usr/bin/python3 of version 3.11 or later for another user to run")
    packages = folder / "packages"
    for distribution in ("pytest", "pluggy", "iniconfig", "packaging", "pygments"):
        for file in importlib.metadata.files(distribution) or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), packages / file)
    shutil.copytree(Path(pytest_k8s_netem.__file__).parent, packages / "pytest_k8s_netem")
    return python


@uml
@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--pdb"], "--pdb needs a terminal inside the guest; run without --netem-guest"),
        (["--trace"], "--trace needs a terminal inside the guest; run without --netem-guest"),
        (["--junitxml=/dev/shm/report.xml"], "--junitxml=/dev/shm/report.xml: in a guest /dev/shm is the guest's own"),
        (["--basetemp", "/run/x"], "argument=/run/x: in a guest /run is the guest's own"),
    ],
)
def test_what_cannot_work_in_a_guest_is_refused(outside: Outside, args: list[str], said: str) -> None:
    outside.test("def test(): pass")
    run = outside.pytest(*args)
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert said in errors


def test_a_host_elsewhere_is_refused_by_name(outside: Outside) -> None:
    pytest.importorskip("xdist")
    outside.test("def test(): pass")
    run = outside.pytest("--tx", "ssh=far.example", "--dist=load")
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--tx=ssh=far.example: this host is outside the guest" in errors


def test_a_missing_kernel_says_what_to_install(outside: Outside, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outside.env["PATH"] = str(tmp_path / "empty")
    outside.test("def test(): pass")
    run = outside.pytest()
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--netem-guest: user-mode-linux is not installed (no linux.uml on PATH)" in errors


@pytest.mark.parametrize("size", ["", "1", "64M", "1.5G", "-1G", "1 GB"])
def test_memory_must_be_a_size(size: str) -> None:
    with pytest.raises(ConfigError, match="write 512M or 1G"):
        needs.memory_bytes(size)


def test_memory_units() -> None:
    assert needs.memory_bytes("512M") == 1 << 29
    assert needs.memory_bytes("1g") == 1 << 30


@pytest.mark.needs("linux")
def test_memory_without_a_place_is_a_problem() -> None:
    assert needs.memory_folder(1 << 60) is None
