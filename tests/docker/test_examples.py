"""The example suites run, on a real Redis in a container of Testcontainers."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import beside
import pytest
from beside import docker
from pages import files
from people import ROOT

pytestmark = [pytest.mark.needs("linux", "root", "docker", "redis"), pytest.mark.timeout(400)]

PROJECT = Path(__file__).parents[2]
EXAMPLES = PROJECT / "examples" / "containers"
GUIDE = PROJECT / "docs" / "how-to" / "attach-containers.md"
TAG = "netem-test-redis:1"
DOCKERFILE = f"""
FROM {beside.IMAGE}
COPY redis-server /usr/local/bin/
COPY lib /usr/local/lib/redis
ENV LD_LIBRARY_PATH=/usr/local/lib/redis
EXPOSE 6379
CMD ["redis-server", "--save", "", "--protected-mode", "no", "--bind", "*"]
"""


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """This machine's Redis and its libraries in an image: no registry can be reached from everywhere."""
    program = shutil.which("redis-server")
    assert program is not None
    shown = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    libraries = [word for word in shown.split() if word.startswith("/") and "ld-linux" not in word]
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        (context / "lib").mkdir()
        (context / "Dockerfile").write_text(DOCKERFILE)
        shutil.copy(program, context)
        for library in libraries:
            if not Path(library).name.startswith(("libc.", "libm.", "libpthread.", "libdl.", "librt.")):
                shutil.copy(library, context / "lib")
        docker("build", "--quiet", "--tag", TAG, str(context))
    yield TAG
    docker("image", "rm", TAG, check=False)


def test_testcontainers(run, image):
    source = (EXAMPLES / "test_redis.py").read_text(encoding="utf-8")
    suite = run(ROOT, source, NETEM_REDIS_IMAGE=image, TESTCONTAINERS_RYUK_DISABLED="true")
    assert suite.outcomes == {"passed": 5}, suite.output


def test_the_guides_tests_pass(run, image):
    [(_name, source)] = files(GUIDE)
    suite = run(ROOT, source.replace("redis:7", image), TESTCONTAINERS_RYUK_DISABLED="true")
    assert suite.outcomes == {"passed": 2}, suite.output


def test_the_docker_client_and_an_attached_container_that_is_the_client(run, user, image):
    """Between two containers of testcontainers on a network of its own, from the one to the other."""
    suite = run(
        user,
        f"""
        import os, time
        from testcontainers.core.container import DockerContainer
        from testcontainers.core.network import Network

        ASK = ("import socket, time; s = socket.create_connection(('db', 6379), 20); t = time.perf_counter();"
               "s.sendall(b'PING\\\\r\\\\n'); s.recv(7); print(time.perf_counter() - t)")

        @pytest.fixture
        def client(netem):
            with Network() as network:
                db = DockerContainer({image!r}).with_network(network).with_network_aliases("db")
                app = DockerContainer({beside.IMAGE!r}).with_network(network).with_command("sleep infinity")
                with db, app:
                    netem.attach(db.get_wrapped_container(), as_="db")
                    netem.attach(app, as_="app")
                    yield app

        @pytest.mark.netem(rtt="80ms", pods="container/app", to="container/db")
        def test_ping(client):
            status, output = client.exec(["python3", "-c", ASK])
            assert status == 0, output
            assert 0.08 <= float(output) < 1
        """,
        TESTCONTAINERS_RYUK_DISABLED="true",
    )
    assert suite.outcomes == {"passed": 1}, suite.output
