"""The public fixtures; everything heavy is imported when the first of them is used. PYTEST_DONT_REWRITE."""

from __future__ import annotations

import pytest

from pytest_k8s_netem import markers
from pytest_k8s_netem.options import SETTINGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from pytest_k8s_netem.cluster.attaching import Attached
    from pytest_k8s_netem.cluster.chaos import Netem
    from pytest_k8s_netem.cluster.cluster import Cluster, Namespace
    from pytest_k8s_netem.cluster.handle import NetemProfile, NetemProfiles
    from pytest_k8s_netem.cluster.impaired import ImpairedTest
    from pytest_k8s_netem.cluster.session import Choices, Session

APPLY_LAST = "_netem_last"
APPLY_FIRST = "_netem_first"
REFUSED = pytest.StashKey[str]()
"""On an item: what is wrong with its markers."""
WATCH = pytest.StashKey["Callable[[], None]"]()
"""On the config: what looks at the phases of tests from then on."""
OUTCOME = pytest.StashKey[str]()
"""How the test's body ended: ``passed``, ``failed``, ``skipped``; absent while it has not."""


ASKED_TOO_LATE = (
    "netem_profile was asked for while the test was being set up or ran, too late to impair its network: let the test "
    'or one of its fixtures name it as an argument, or write @pytest.mark.usefixtures("netem_profile")'
)


def _namespace_scope(fixture_name: str, config: pytest.Config) -> Any:  # noqa: ARG001 - pytest names them
    return config.stash[SETTINGS].namespace_scope


@pytest.fixture(scope="session")
def _netem_session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """Not for tests: what this run has started."""
    from pytest_k8s_netem.cluster import session

    request.config.stash[WATCH]()
    settings = request.config.stash[SETTINGS]
    with _refusals(settings.missing):
        opened = session.open_session(_choices(request.config), request.config.stash.setdefault(AT_END, []).append)
    request.config.stash[SESSION] = opened
    request.config.stash[ARTIFACTS] = _artifacts(request)
    yield opened
    try:
        failed = bool(request.session.testsfailed) or ENDED_BADLY in request.config.stash
        request.config.stash[NOTICES] = opened.notices(failed, request.config.stash[ARTIFACTS])
    finally:
        opened.close()


SESSION = pytest.StashKey["Session"]()
ARTIFACTS = pytest.StashKey["Callable[[], Path]"]()
"""Where evidence is written; nothing is made before it is called."""
AT_END = pytest.StashKey["list[Callable[[], None]]"]()
"""What is still to be ended at the end of the run."""
ENDED_BADLY = pytest.StashKey[bool]()
"""There once the end of a test has failed it; pytest counts the last test's after the end of the run's fixtures."""
NOTICES = pytest.StashKey[list[str]]()
"""What is to be told at the end of the run, a sentence each."""


def _artifacts(request: pytest.FixtureRequest) -> Callable[[], Path]:
    import os
    from pathlib import Path

    from pytest_k8s_netem.guest.keeping import EVIDENCE, begun

    settings = request.config.stash[SETTINGS]
    if settings.artifacts:
        source = dict(settings.sources)["artifacts"]
        base = request.config.rootpath if source.startswith("ini") else request.config.invocation_params.dir
        return lambda: base / settings.artifacts
    if folder := os.environ.get(EVIDENCE):  # in a guest, whose temporary directory ends with it
        return lambda: begun(Path(folder))
    factory = request.getfixturevalue("tmp_path_factory")
    return lambda: Path(factory.getbasetemp(), "netem")


def _choices(config: pytest.Config) -> Choices:
    from pytest_k8s_netem.cluster.session import Choices

    settings = config.stash[SETTINGS]
    worker = getattr(config, "workerinput", {})  # of xdist
    return Choices(
        provider=settings.provider,
        engine=settings.engine,
        nodes=settings.nodes,
        timeout=settings.timeout,
        seed=settings.seed,
        allow_script=settings.allow_script,
        cluster=settings.cluster,
        keep=settings.keep,
        kind_image=settings.kind_image,
        kind_config=settings.kind_config,
        agent_image=settings.agent_image,
        controller_image=settings.image,
        kubeconfig=settings.kubeconfig,
        context=settings.context,
        namespace=settings.namespace,
        allow_namespaces=tuple(settings.allow_namespaces.replace(",", " ").split()),
        controller=settings.controller,
        k3s_image=settings.k3s_image,
        evidence=settings.evidence != "never",
        xdist=(str(worker.get("testrunuid", "")), str(worker.get("workerid", ""))),
        folder=config.rootpath,
    )


@pytest.fixture(scope="session")
def netem_cluster(_netem_session: Session, request: pytest.FixtureRequest) -> Cluster:
    """The cluster that runs the pods: ``apply`` a manifest, ``wait_ready``, then ``exec``, ``logs``, ``forward`` ...

    It starts when the first test asks for it, and is gone at the end of the run, unless it existed before. Objects go
    to the namespace ``default`` (with a kubeconfig: its own, or ``--netem-namespace``) unless ``namespace=`` says
    otherwise; for a fresh namespace use ``netem_namespace``::

        with netem_cluster.apply("shop.yaml"):
            netem_cluster.wait_ready("app=web")
            print(netem_cluster.exec("shopper", ["curl", "-s", "http://web:8080/"]).stdout)
    """
    with _refusals(request.config.stash[SETTINGS].missing):
        return _netem_session.cluster


@pytest.fixture(scope=_namespace_scope)
def netem_namespace(_netem_session: Session, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A fresh namespace with the cluster's methods bound to it; deleted, with its pods, at the end of its scope.

    The impairments of a test that uses it, directly or through another fixture, look for pods here; those of other
    tests, in ``default``. The scope is ``function``, or what ``--netem-namespace-scope`` says. Where the user of a
    kubeconfig may not create namespaces, it is the one to work in, and only what was applied in it is deleted::

        @pytest.fixture
        def shop(netem_namespace):
            netem_namespace.apply("shop.yaml")
            netem_namespace.wait_ready()
            return netem_namespace
    """
    with _refusals(request.config.stash[SETTINGS].missing):
        namespace = _netem_session.make_namespace(request.node.nodeid)
    yield namespace
    with _ending(request.config):
        _netem_session.end_namespace(namespace)


@pytest.fixture
def netem_spec(request: pytest.FixtureRequest) -> Any:
    """What to impose on this test's network; made to be overridden, or parametrised with ``indirect=True``.

    A mapping of the marker's arguments, a TrafficProfile object, the path of one, or None for a healthy control run.
    By default, what the test's ``netem`` markers say::

        @pytest.mark.parametrize("netem_spec", [None, {"rtt": "50ms"}, "wan.yaml"], indirect=True)
        def test_checkout(netem_spec, netem_profile): ...
    """
    return request.param if hasattr(request, "param") else markers.declared(request.node)


@pytest.fixture
def _netem_test(request: pytest.FixtureRequest, _netem_session: Session) -> Iterator[ImpairedTest]:
    """Not for tests: all that this test does to its network."""
    from pytest_k8s_netem.cluster.findings import Strictness
    from pytest_k8s_netem.cluster.impaired import ImpairedTest

    settings = request.config.stash[SETTINGS]
    # Looked up by name: the fixture may have a wider scope, and a test without it has the provider's own namespace.
    fresh = "netem_namespace" in request.fixturenames
    namespace = request.getfixturevalue("netem_namespace").name if fresh else _netem_session.provider.home
    reader = _netem_session.reader(request.node.nodeid, namespace, (request.path.parent, request.config.rootpath))
    strictness = Strictness(settings.inert, settings.unexercised)
    test = ImpairedTest(_netem_session, request.node.nodeid, reader, strictness)
    yield test
    with _ending(request.config):
        try:
            test.abandon()
        finally:
            test.detach()
        _tell(request, test)


@pytest.fixture
def netem_profiles(request: pytest.FixtureRequest, _netem_test: ImpairedTest) -> NetemProfiles:
    """The handles of this test's impairments, by the ``name=`` of their markers.

    Unnamed ones are called ``netem``, ``netem-2`` and so on. ``netem_profile`` describes what each can do.
    """
    from pytest_k8s_netem.cluster.spec import Spec
    from pytest_k8s_netem.errors import ConfigError

    parameters = getattr(getattr(request.node, "callspec", None), "params", {})
    said = parameters["netem_profile"] if "netem_profile" in parameters else request.getfixturevalue("netem_spec")
    with _refusals():
        if isinstance(said, list) and all(isinstance(part, markers.Declared) for part in said):
            specs = [Spec(part.name, part.arguments, part.order) for part in said]
        else:
            specs = [] if said is None else [Spec.of(markers.UNNAMED, said)]
        if specs and APPLY_LAST not in request.fixturenames:
            raise ConfigError(ASKED_TOO_LATE)
        _netem_test.declare(specs)
    return _netem_test.profiles


@pytest.fixture
def netem_profile(netem_profiles: NetemProfiles) -> NetemProfile | None:
    """The handle of this test's one impairment, or None in a healthy control run.

    ``update(...)`` changes some arguments, ``replace(...)`` all; ``with pause():`` restores a healthy network for a
    while; ``assert_rtt(median=("100ms", "140ms"))``, ``assert_loss("1%")`` and ``assert_rate("10mbit")`` measure now,
    between each pod and its peer; ``observed()`` is the kernel's state, read back. A change returns once the network is
    proven to be as asked. A test with several impairments uses ``netem_profiles`` instead.

    The impairment is set up after all other fixtures and healed before them: while fixtures are set up the handle
    exists, but its methods raise ``NotApplied`` unless the marker says ``when="first"``.
    """
    with _refusals():
        return netem_profiles.only


@pytest.fixture
def netem(_netem_test: ImpairedTest) -> Netem:
    """Impairments for the length of a ``with`` or ``async with`` block, proven before its body, healed after it.

    ``impair(...)`` takes the marker's arguments, ``partition(a, b)`` lets nothing pass between two sides,
    ``blackhole(pods)`` lets nothing in or out; blocks nest and add up. ``attach(container, as_="redis")`` lets a
    Docker container be impaired, as ``container/redis``::

        with netem.partition("app=web", "app=db"):
            assert shop.exec("web", ["./checkout"], check=False).returncode != 0
    """
    return _netem_test.chaos()


@pytest.fixture(scope="session")
def netem_attach(_netem_session: Session, request: pytest.FixtureRequest) -> Callable[..., Attached]:
    """``attach`` of the fixture ``netem`` for container fixtures of a wider scope: attached until the run's end.

    It returns a handle with ``name``, ``id``, ``ip``, ``ips`` and ``detach()``, which is also a context manager::

        @pytest.fixture(scope="session")
        def redis(netem_attach):
            with RedisContainer() as container:
                with netem_attach(container, as_="redis"):
                    yield container
    """

    def attach(container: object, as_: str = "") -> Attached:
        with _refusals(request.config.stash[SETTINGS].missing):
            return _netem_session.attach(container, as_)

    return attach


@pytest.fixture
def _netem_first(netem_profiles: NetemProfiles, _netem_test: ImpairedTest, request: Any) -> Iterator[None]:
    """Not for tests: impairs before the test's other fixtures are set up, what says ``when="first"``."""
    yield from _impaired(_netem_test, netem_profiles, "first", request)


@pytest.fixture
def _netem_last(netem_profiles: NetemProfiles, _netem_test: ImpairedTest, request: Any) -> Iterator[None]:
    """Not for tests: impairs after all other fixtures, so that they come up and go down on a healthy network."""
    yield from _impaired(_netem_test, netem_profiles, "last", request)


def _impaired(test: ImpairedTest, profiles: NetemProfiles, when: str, request: pytest.FixtureRequest) -> Iterator[None]:
    if not profiles:
        yield
        return
    with _refusals(request.config.stash[SETTINGS].missing):
        test.begin(when)
    yield
    with _ending(request.config):
        test.end(when)


def _tell(request: pytest.FixtureRequest, test: ImpairedTest) -> None:
    """Warn or fail for what was found; never on top of a body that failed, was skipped or failed as expected."""
    for finding in test.found:
        if finding.level == "warn":
            request.node.warn(pytest.PytestWarning(finding.text))  # with the test's own place in its file
    errors = [finding.text for finding in test.found if finding.level == "error"]
    outcome = request.node.stash.get(OUTCOME, "")
    if errors and outcome == "passed":
        pytest.fail("\n".join(errors), pytrace=False)
    if errors and outcome == "xpassed":  # an error would be one more expected failure, and nobody would read it
        for text in errors:
            why = f"{text}; that the test passed although it is marked xfail proves nothing"
            request.node.warn(pytest.PytestWarning(why))


class _refusals:  # noqa: N801 - reads as a statement
    """What the user must mend becomes a short error without a traceback of the plugin's inside."""

    def __init__(self, missing: str = "fail") -> None:
        self._missing = missing

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from pytest_k8s_netem.errors import NetemError, ProviderError

        if isinstance(error, ProviderError) and self._missing == "skip":
            raise pytest.skip.Exception(str(error)) from None
        if isinstance(error, NetemError):
            failed = pytest.fail.Exception(str(error), pytrace=False)
            failed.of_machine = isinstance(error, ProviderError)  # type: ignore[attr-defined] # see makereport
            raise failed from None


class _ending(_refusals):  # noqa: N801 - likewise
    """The same at the end of a test or of what it used, which is to count as failed from then on."""

    def __init__(self, config: pytest.Config) -> None:
        super().__init__()
        self._config = config

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._config.stash[ENDED_BADLY] = True
        super().__exit__(kind, error, trace)
