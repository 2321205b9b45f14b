"""TrafficProfiles from files: where they are looked for, what they are confined to, what is refused."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.needs("netns")

WAN = {
    "apiVersion": "k8s-netem.riasc.eu/v1",
    "kind": "TrafficProfile",
    "metadata": {"name": "wan"},
    "spec": {"podSelector": {"matchLabels": {"app": "ann"}}, "impairment": {"delay": "200ms"}, "egress": [{}]},
}
USES = """
@pytest.mark.netem(profile="wan.yaml")
def test_it(ann, bob):
    assert late(ann, bob)
"""


def written(pytester: pytest.Pytester, folder: str = "", **spec: object) -> None:
    """Write ``wan.yaml``; JSON is YAML."""
    target = pytester.path / folder / "wan.yaml"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({**WAN, "spec": {**WAN["spec"], **spec}}))


@pytest.mark.usefixtures("engine")
def test_the_test_files_folder_comes_before_rootdir(suite, pytester):
    written(pytester, impairment={"delay": "1ms"})
    written(pytester, "deep")
    (pytester.path / "deep").joinpath("test_deep.py").write_text(f"import pytest\nfrom lanes import *\n{USES}")
    suite("def test_other(): pass").assert_outcomes(passed=2)


def test_rootdir_is_where_it_is_looked_for_next(suite, pytester):
    written(pytester)
    pytester.makeini("[pytest]\n")
    (pytester.path / "deep").mkdir()
    (pytester.path / "deep").joinpath("test_deep.py").write_text(f"import pytest\nfrom lanes import *\n{USES}")
    suite("def test_other(): pass").assert_outcomes(passed=2)


def test_blocks_of_any_scope_look_in_rootdir(suite, pytester, monkeypatch):
    written(pytester)
    pytester.makeini("[pytest]\n")
    monkeypatch.chdir(pytester.mkdir("deep"))
    source = """
    @pytest.fixture(scope="module")
    def wan(people):
        with people.impair(profile="wan.yaml"):
            yield

    def test_it(wan, ann, bob):
        assert late(ann, bob)
    """
    suite(source, "..").assert_outcomes(passed=1)


def test_a_file_that_is_nowhere_names_both_places(suite, pytester):
    pytester.makeini("[pytest]\n")
    (pytester.path / "deep").mkdir()
    (pytester.path / "deep").joinpath("test_deep.py").write_text(f"import pytest\nfrom lanes import *\n{USES}")
    result = suite("def test_other(): pass")
    result.assert_outcomes(passed=1, errors=1)
    told = f"*profile=wan.yaml: no such file: {pytester.path}/deep/wan.yaml nor {pytester.path}/wan.yaml"
    result.stdout.fnmatch_lines([told])


ELSEWHERE = """
@pytest.fixture
def stranger(people):
    other = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other", "labels": {"team": "b"}}}
    with people.apply(other), people.apply(manifest("ann"), namespace="other"):
        people.wait_ready(namespace="other")
        yield people.pod("ann", namespace="other")
"""


@pytest.mark.usefixtures("engine")
def test_its_pods_are_those_of_the_tests_namespace(suite, pytester):
    """Unless the marker or the file says otherwise."""
    written(pytester)
    written(pytester, "own", namespaceSelector={"matchLabels": {"team": "b"}})
    result = suite(
        ELSEWHERE
        + """
def check(ann, bob, stranger, here, there):
    assert late(ann, bob) is here
    assert late(stranger, bob) is there

@pytest.mark.netem(profile="wan.yaml")
def test_confined(ann, bob, stranger):
    check(ann, bob, stranger, True, False)

@pytest.mark.netem(profile="wan.yaml", namespaces="other")
def test_another(ann, bob, stranger):
    check(ann, bob, stranger, False, True)

@pytest.mark.netem(profile="wan.yaml", namespaces="*")
def test_all(ann, bob, stranger):
    check(ann, bob, stranger, True, True)

@pytest.mark.netem(profile="own/wan.yaml")
def test_the_files_own_selector(ann, bob, stranger):
    check(ann, bob, stranger, False, True)
"""
    )
    result.assert_outcomes(passed=4)


@pytest.mark.usefixtures("engine")
def test_the_rules_peers_keep_upstreams_meaning(suite, pytester):
    """A podSelector beside a namespaceSelector looks where that says."""
    peer = {"podSelector": {"matchLabels": {"app": "ann"}}, "namespaceSelector": {"matchLabels": {"team": "b"}}}
    written(pytester, podSelector={"matchLabels": {"app": "bob"}}, egress=[{"to": [peer]}])
    result = suite(
        ELSEWHERE
        + """
@pytest.mark.netem(profile="wan.yaml")
def test_it(ann, bob, stranger):
    assert late(bob, stranger)
    assert not late(bob, ann)
"""
    )
    result.assert_outcomes(passed=1)


OBJECTS = [
    ({"type": "Builtin", "parameters": {"netem": {"delay": 0.1}}}, "*spec.type*one object speaks one of them*"),
    ({"impairment": {"delay": 100}}, "*spec.impairment.delay=100: a bare number*delay: 100ms*"),
    ({"impairment": {"dealy": "1ms"}}, "*spec.impairment.dealy*did you mean delay*"),
    ({"podSelectro": {}}, "*spec.podSelectro: unknown field*podSelector*"),
]
UPSTREAM = [
    ({"loss_ratio": 5}, "*spec.parameters.netem.loss_ratio=5*0.05*"),
    ({"delay": "100ms"}, "*spec.parameters.netem.delay*spec.impairment*"),
    ({"dellay": 1}, "*spec.parameters.netem.dellay*did you mean delay*"),
]
TEXTS = [
    ("{", "*wan.yaml is not YAML*"),
    ("", "*no object in*wan.yaml*"),
    ("[1, 2]", "*wan.yaml: document 1 is no manifest*"),
    ('{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}', "*expected one TrafficProfile, found Pod*"),
]


def upstream(netem: dict[str, object]) -> str:
    spec = {"podSelector": {}, "type": "Builtin", "parameters": {"netem": netem}, "egress": [{}]}
    return json.dumps({**WAN, "spec": spec})


def test_what_is_wrong_is_told_with_its_path(suite, pytester):
    """Objects in our words and in upstream's, and files that hold none; each is the error of its own test."""
    texts = [
        *((json.dumps({**WAN, "spec": {**WAN["spec"], **spec}}), told) for spec, told in OBJECTS),
        *((upstream(netem), told) for netem, told in UPSTREAM),
        *TEXTS,
    ]
    for number, (text, _) in enumerate(texts):
        (pytester.path / f"{number}").mkdir()
        (pytester.path / f"{number}" / "wan.yaml").write_text(text)
    source = '@pytest.mark.netem(profile="{0}/wan.yaml")\ndef test_{0}(ann): ...\n\n'
    result = suite("".join(source.format(number) for number in range(len(texts))))
    result.assert_outcomes(errors=len(texts))
    _, *sections = result.stdout.str().partition("short test summary")[0].split("ERROR at setup of test_")
    for section, (_, told) in zip(sections, texts, strict=True):
        pytest.LineMatcher(section.splitlines()).fnmatch_lines([told])
    assert "Traceback" not in result.stdout.str()


def test_a_profile_stands_for_all_of_it(suite, pytester):
    written(pytester)
    result = suite('@pytest.mark.netem(profile="wan.yaml", delay="1ms")\ndef test_it(): ...')
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*profile= stands for all of it: leave out delay*"])
