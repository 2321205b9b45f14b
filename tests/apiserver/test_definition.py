"""The definition of TrafficProfiles on a real API server: it takes what the parser takes, and says plainly what not."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from control_plane import Lab, control_plane
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from profile_objects import profiles, spots, with_change

from pytest_k8s_netem.api.protocol import DEFINITIONS, TRAFFICPROFILES
from pytest_k8s_netem.cluster.controlplane import program
from pytest_k8s_netem.errors import ApiError, ConfigError
from pytest_k8s_netem.kube.definition import define
from pytest_k8s_netem.profile.native import render_profile
from pytest_k8s_netem.profile.parse import parse
from pytest_k8s_netem.run.retry import attempts

pytestmark = pytest.mark.needs("apiserver")

ROOT = Path(__file__).parents[2]
OWN = ROOT / "fixtures" / "profiles"
UPSTREAM = ROOT.parent / "shared" / "data" / "k8s-netem" / "kubernetes" / "example"
PATH = "/apis/k8s-netem.riasc.eu/v1/trafficprofiles"

SAMPLE = settings(
    suppress_health_check=[*HealthCheck], deadline=None, max_examples=150, database=None, derandomize=True
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with control_plane(tmp_path_factory.mktemp("plane")) as lab:
        lab.call(define(lab.api))
        yield lab


def judged(lab: Lab, obj: Any) -> tuple[Any, str]:
    """What the server makes of an object (it drops nulls), and why it refuses it; "" = it would take it."""
    try:
        return lab.api.connection().request("POST", PATH, {"dryRun": "All"}, obj), ""
    except ApiError as error:
        if error.status not in (400, 422):
            raise
        return obj, str(error)


OURS_ALONE = ("unknown field", "does not lie in the block's cidr")
"""What the schema leaves to the webhook and the controller: fields that it keeps, and arithmetic of addresses."""


def unreadable(obj: Any) -> list[Any]:
    """Why the parser refuses an object."""
    try:
        parse(obj)
    except ConfigError as error:
        return list(error.problems)
    return []


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def plain(profile: Any) -> Any:
    obj = render_profile(profile)
    obj["metadata"] = {"name": "p"}
    if obj["spec"].get("seed", 0) >= 2**63:  # no whole number for Kubernetes
        obj["spec"]["seed"] = 2**63 - 1
    return obj


@SAMPLE
@given(profile=profiles())
def test_what_the_parser_can_mean_is_taken(lab: Lab, profile: Any) -> None:
    assert judged(lab, plain(profile))[1] == ""


VALUES = st.sampled_from(
    [
        None, True, 0, 1, -1, 0.5, 1.5, 101, 70000, 2**32, "", "x", "0", "1", "5%", "101%", "100ms", "0ms", "1.5s",
        "4294.967295s", "4295s", "0.5ns", "10mbit", "10mbps", "9bit", "1500byte", "-5byte", "lte", "normal", "tcp",
        "In", "Exists", "Flexe", "kernel", "node", "web", "a/b", "8000", [], {}, [1], ["node"], [{}], ["x"],
        {"x": "y"}, {"podSelector": {}}, {"delay": "1ms"},
    ]
)  # fmt: skip


@SAMPLE
@given(data=st.data(), value=VALUES)
@pytest.mark.parametrize("name", ["builtin", "flexe", "native"])
def test_a_changed_object_is_judged_alike(lab: Lab, name: str, data: Any, value: Any) -> None:
    obj = load(OWN / f"{name}.yaml")
    spec = [path for path in spots(obj) if path and path[0] == "spec"]
    changed = with_change(obj, data.draw(st.sampled_from(spec)), value)
    made, theirs = judged(lab, changed)
    ours = unreadable(made)
    if theirs:
        assert ours, f"the server alone refuses it: {theirs}"
    else:
        assert [problem for problem in ours if not problem.why.startswith(OURS_ALONE)] == []


@pytest.mark.parametrize("name", ["builtin", "flexe", "script", "native"])
def test_an_unknown_field_anywhere_is_kept(lab: Lab, name: str) -> None:
    obj = load(OWN / f"{name}.yaml")
    for path in spots(obj["spec"]):
        place = obj["spec"]
        for key in path:
            place = place[key]
        if isinstance(place, dict) and "matchLabels" not in path:
            place["zzz"] = 1
    made = lab.api.connection().request("POST", PATH, {"dryRun": "All"}, obj)
    assert made["spec"] == obj["spec"]


@pytest.mark.parametrize(
    "path",
    [
        *sorted(OWN.glob("*.yaml")),
        *sorted((ROOT / "examples" / "profiles").glob("*.yaml")),
        UPSTREAM / "profile-builtin.yaml",
        UPSTREAM / "profile-flexe.yaml",
    ],
    ids=lambda path: path.stem,
)
def test_an_example_applies_unchanged(lab: Lab, path: Path) -> None:
    if not path.is_file():
        pytest.skip(f"{path.name} of k8s-netem is not here")
    obj = load(path)
    made = lab.call(lab.api.create(TRAFFICPROFILES, obj))
    lab.call(lab.api.delete(TRAFFICPROFILES, obj["metadata"]["name"]))
    assert made["spec"] == obj["spec"]


@pytest.mark.parametrize(
    ("impairment", "path", "said"),
    [
        ({"delay": "100"}, "spec.impairment.delay", "write a time with its unit, at most 4294.967295s: 100ms"),
        ({"loss": "101%"}, "spec.impairment.loss", "write a share between 0% and 100%: 1.5%"),
        ({"jitter": "1ms"}, "spec.impairment", "jitter means nothing without delay"),
        ({"rtt": "1ms"}, "spec", "rtt speaks of both directions"),
        ({"egress": {"delay": "1ms"}, "loss": "1%"}, "spec.impairment", "stand beside no other word"),
        ({"timeline": [{"delay": "1ms"}, {"loss": "1%"}]}, "spec.impairment", "each segment says for how long"),
    ],
)
def test_a_refusal_is_plain(lab: Lab, impairment: dict[str, Any], path: str, said: str) -> None:
    obj = {"metadata": {"name": "p"}, "spec": {"podSelector": {}, "egress": [{}], "impairment": impairment}}
    with pytest.raises(ApiError) as caught:
        lab.call(lab.api.create(TRAFFICPROFILES, obj))
    assert caught.value.status == 422
    assert [problem.path for problem in caught.value.problems if said in problem.why] == [path]


def kubectl(lab: Lab, *words: str) -> str:
    command = [program("kubectl"), "--kubeconfig", str(lab.plane.kubeconfig), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.needs("kubectl")
def test_explain_and_get_read_well(lab: Lab) -> None:
    explained = kubectl(lab, "explain", "tp.spec.impairment")
    assert "time added to each packet, one way; e.g. 100ms" in " ".join(explained.split())
    lab.call(lab.api.create(TRAFFICPROFILES, load(OWN / "native.yaml")))
    status = {
        "impairment": "delay 40ms",
        "engine": "kernel",
        "pods": {"selected": 3, "applied": 2, "verified": 1},
        "conditions": [],
    }
    lab.call(lab.api.patch(TRAFFICPROFILES, "wan", {"status": status}, subresource="status"))
    head, line = kubectl(lab, "get", "tps").splitlines()
    assert head.split() == ["NAME", "IMPAIRMENT", "PODS", "APPLIED", "VERIFIED", "ENGINE", "AGE"]
    assert line.split()[:7] == ["wan", "delay", "40ms", "3", "2", "1", "kernel"]
    assert "wan" in kubectl(lab, "get", "netem")
    lab.call(lab.api.delete(TRAFFICPROFILES, "wan"))


def test_defining_twice_is_no_change(lab: Lab) -> None:
    first, second = lab.call(define(lab.api)), lab.call(define(lab.api))
    assert first["metadata"]["generation"] == second["metadata"]["generation"]


def test_the_definition_of_k8s_netem_itself_is_upgraded(tmp_path: Path) -> None:
    """With the objects that are there: they stay, and are served by the new one."""
    theirs = UPSTREAM.parent / "crd.yaml"
    if not theirs.is_file():
        pytest.skip("the definition of k8s-netem is not here")
    with control_plane(tmp_path / "plane") as lab:

        async def upgrade() -> Any:
            await lab.api.create(DEFINITIONS, load(theirs))
            async for attempt in attempts(30, ApiError):
                with attempt:
                    await lab.api.create(TRAFFICPROFILES, load(UPSTREAM / "profile-builtin.yaml"))
            await define(lab.api)
            return (await lab.api.list(TRAFFICPROFILES)).items

        [kept] = lab.call(upgrade())
        said = load(UPSTREAM / "profile-builtin.yaml")["spec"]["parameters"]["netem"]
        assert said.items() <= kept["spec"]["parameters"]["netem"].items()
        assert parse(kept).egress, "the defaults that its own definition wrote into it mean nothing more"
        status = {"status": {"impairment": "delay"}}

        async def tell() -> None:
            async for attempt in attempts(30, ApiError):  # the server may know the old one for a moment
                with attempt:
                    await lab.api.patch(TRAFFICPROFILES, kept["metadata"]["name"], status, subresource="status")

        lab.call(tell())
