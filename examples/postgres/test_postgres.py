"""A real PostgreSQL, which refuses to run as root, under delay and partition."""

from __future__ import annotations

import os
import pwd
import shutil
import time
from pathlib import Path

import pytest

# Debian and Ubuntu keep a folder for each version, Fedora has one version on PATH.
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres")) or list(
    map(Path, filter(None, [shutil.which("postgres")]))
)
pytestmark = pytest.mark.skipif(
    not BINARIES or not shutil.which("psql"),
    reason="no PostgreSQL: apt install postgresql, or dnf install postgresql-server",
)

USER = pwd.getpwnam("postgres").pw_uid if BINARIES else 0


@pytest.fixture
def database(this_machines_programs, netem_namespace, pod_manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("postgres")
    for path in (folder, *[p for p in folder.parents if p.owner() == folder.owner() and "pytest" in str(p)]):
        path.chmod(0o755)
    data = folder / "data"
    data.mkdir()
    if os.geteuid() == 0:
        os.chown(data, USER, USER)
    bin_ = BINARIES[-1].parent
    start = (
        f"{bin_}/initdb -D {data} -A trust -U tester --no-sync >/dev/null"
        f" && echo 'host all all all trust' >> {data}/pg_hba.conf"
        f" && exec {bin_}/postgres -D {data} -k '' -c listen_addresses='*' -c fsync=off"
    )
    security = {"securityContext": {"runAsUser": USER}}
    netem_namespace.apply(
        [
            pod_manifest("db", "sh", "-c", start, port=5432, **security),
            pod_manifest("app", "sleep", "infinity"),
        ]
    )
    netem_namespace.wait_ready()
    return netem_namespace


@pytest.fixture
def query(database):
    """Run a statement from the other pod: (answer or error, seconds)."""

    def run(statement: str, timeout: int = 10) -> tuple[str, float]:
        where = f"host={database.pod('db').ip} user=tester dbname=postgres connect_timeout={timeout}"
        start = time.perf_counter()
        done = database.exec("app", ["psql", "-XAtc", statement, where], check=False)
        return (done.stdout or done.stderr).strip(), time.perf_counter() - start

    return run


@pytest.mark.netem(rtt="100ms", pods="app=app", to="app=db", ports="tcp/5432")
def test_connecting_costs_several_round_trips(query):
    answer, seconds = query("select 6 * 7")
    assert answer == "42"
    assert seconds > 0.3


def test_a_partition_is_a_timeout_and_heals(query, netem):
    with netem.partition("app=app", "app=db"):
        answer, _ = query("select 1", timeout=2)
        assert "timeout" in answer
    assert query("select 1")[0] == "1"
