"""What cannot be attached is refused in one sentence, and nothing has changed then."""

from __future__ import annotations

import secrets

import beside
import pytest
from beside import docker
from people import ROOT, outsider

pytestmark = [pytest.mark.needs("linux", "root", "docker"), pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def odd():
    """Containers that have no network of their own, by what is odd about them."""
    token = secrets.token_hex(3)
    names = {kind: f"netem-test-{kind}-{token}" for kind in ("host", "none", "stopped", "shared")}
    base = f"netem-test-base-{token}"
    sleeping = (beside.IMAGE, "sleep", "infinity")
    docker("run", "--detach", "--init", "--name", base, *sleeping)
    docker("run", "--detach", "--init", "--network", "host", "--name", names["host"], *sleeping)
    docker("run", "--detach", "--init", "--network", "none", "--name", names["none"], *sleeping)
    docker("create", "--name", names["stopped"], *sleeping)
    docker("run", "--detach", "--init", "--network", f"container:{base}", "--name", names["shared"], *sleeping)
    yield names
    docker("rm", "--force", base, *names.values())


def test_each_is_told_what_would_be_right(run, odd):
    """All in one run, whose network stays as it is."""
    suite = run(
        ROOT,
        f"""
        import os
        from testcontainers.core.container import DockerContainer
        from pytest_k8s_netem.errors import ConfigError

        HOST, NONE, STOPPED, SHARED = {list(odd.values())!r}
        SERVER, CLIENT = os.environ["SERVER"], os.environ["CLIENT"]

        @pytest.mark.parametrize("container, as_, why", [
            (HOST, "x", "uses this machine's own network .network mode host.: impairing it would impair the machine"),
            (NONE, "x", "has no network: run it on one"),
            (STOPPED, "x", "does not run: it is created; start it before it is attached"),
            (SHARED, "x", "shares the network of container [0-9a-f]{{12}}: attach that one"),
            ("netem-nobody", "x", "Docker has no container 'netem-nobody'; docker ps -a shows those it has"),
            (SERVER, "Re_dis", "as_=.Re_dis..: not a name; use lower case letters"),
            (None, "x", "this is no container; give a container of testcontainers"),
            (DockerContainer("none"), "x", "this DockerContainer has not been started; attach it inside its with"),
        ])
        def test_refused(netem, container, as_, why):
            with pytest.raises(ConfigError, match=why):
                netem.attach(container, as_=as_)

        def test_twice(netem):
            with netem.attach(SERVER, as_="one"):
                with pytest.raises(ConfigError, match="container/one is container [0-9a-f]{{12}} already; detach that"):
                    netem.attach(CLIENT, as_="one")
                with pytest.raises(ConfigError, match="is attached already, as container/one"):
                    netem.attach(SERVER, as_="two")
                with netem.attach(CLIENT):
                    pass
            with netem.attach(CLIENT, as_="one"):
                pass
        """,
    )
    assert suite.outcomes == {"passed": 9}, suite.output


def test_a_refusal_is_short(run, odd):
    suite = run(ROOT, f"def test_it(netem):\n    netem.attach({odd['host']!r}, as_='redis')")
    assert suite.outcomes == {"failed": 1}
    assert "pytest_k8s_netem/" not in suite.output.partition("short test summary")[0]


MARKERS = """
@pytest.mark.netem(delay="1ms", pods="container/redis")
def test_nobody_attached_it(): ...

@pytest.mark.netem(delay="1ms", pods="container/redis")
def test_another_is_attached(attached): ...

@pytest.mark.netem(delay="1ms", to="container/redis", pods="container/client")
def test_a_peer_that_nobody_attached(attached): ...
"""
NOBODY = """
@pytest.mark.netem(delay="1ms")
def test_nothing_at_all(): ...
"""


def test_a_marker_names_the_container_that_is_missing(run):
    suite = run(ROOT, MARKERS)
    assert suite.outcomes == {"error": 3}
    missing = "\nimpairment 'netem': container/redis: nobody has attached a container of that name, "
    told = suite.output.partition("short test summary")[0]
    assert told.count(f"{missing}none is attached; attach it in a fixture of the test: netem.attach(") == 1
    assert told.count(f"{missing}attached are container/client, container/server") == 2


def test_a_marker_in_a_run_without_pod_and_container_names_attach(run, user):
    suite = run(user, NOBODY)
    assert suite.outcomes == {"error": 1}
    assert "there is no pod to impair in namespace default; there is no pod at all" in suite.output
    assert "attach containers with netem.attach(...)" in suite.output


def test_without_docker(run, tmp_path):
    suite = run(ROOT, "def test_it(netem):\n    netem.attach('redis')", PATH=str(tmp_path))
    assert suite.outcomes == {"failed": 1}
    assert "there is no docker on PATH; install Docker Engine" in suite.output


def test_without_a_daemon(run):
    suite = run(ROOT, "def test_it(netem):\n    netem.attach('redis')", DOCKER_HOST="unix:///nowhere.sock")
    assert suite.outcomes == {"failed": 1}
    assert "start it (sudo systemctl start docker), or name another daemon by DOCKER_HOST" in suite.output


def test_without_access_to_the_socket(run, user):
    suite = run(outsider(user), "def test_it(attached): ...")
    assert suite.outcomes == {"error": 1}
    assert (
        "attaching containers needs access to Docker's socket, not root: sudo usermod -aG docker $USER" in suite.output
    )
    skipped = run(outsider(user), "def test_it(attached): ...", "--netem-missing=skip")
    assert skipped.outcomes == {"skipped": 1}
