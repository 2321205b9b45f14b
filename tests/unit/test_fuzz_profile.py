"""Whatever an object or a marker says: it is a profile, or a ConfigError that names each mistake by its path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from json_values import VALUES, meddled

from pytest_k8s_netem.cluster.spec import FACE, Spec, SpecReader
from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.local import manifests
from pytest_k8s_netem.profile import arguments, units
from pytest_k8s_netem.profile.describe import describe
from pytest_k8s_netem.profile.native import render_profile
from pytest_k8s_netem.profile.parse import parse
from pytest_k8s_netem.profile.trafficprofile import TrafficProfile

FOLDER = Path(__file__).parents[2] / "fixtures" / "profiles"
OBJECTS = [obj for path in sorted(FOLDER.glob("*.yaml")) for obj in yaml.safe_load_all(path.read_text())]
UPSTREAM = [obj for obj in OBJECTS if "parameters" in obj["spec"]]
WORDS = st.one_of(
    VALUES,
    st.sampled_from(
        ["100ms", "-1ms", "1e3s", "1.5%", "101%", "10mbit", "10mbps", "nan%", "inf", "1ns", "0", "", " ", "1 ms", "٣ms"]
    ),
    st.sampled_from(
        ["app=web", "app in (a,b)", "pod/x", "svc/x", "10.0.0.0/99", "::/0", "fqdn:", "*", "web", "tcp/80"]
    ),
)


def told(read: Any, *said: Any, **more: Any) -> Any:
    """What it reads, or None for a ConfigError whose problems can be acted on."""
    try:
        return read(*said, **more)
    except ConfigError as error:
        refusal = error
    assert str(refusal)
    assert all(problem.why for problem in refusal.problems)
    return None


def test_there_are_objects_to_meddle_with() -> None:
    assert len(OBJECTS) >= 4
    assert len(UPSTREAM) >= 3


@given(st.sampled_from(OBJECTS).flatmap(lambda obj: meddled(obj, WORDS)))
@settings(max_examples=200)
@example({**OBJECTS[0], "spec": {"podSelector": {}, "parameters": {"netem": {"delay": 0.05}}}})  # without a rule
def test_any_object_is_a_profile_or_refused(obj: Any) -> None:
    profile = told(parse, obj)
    if profile is not None:
        assert isinstance(profile, TrafficProfile)
        rendered = json.loads(json.dumps(render_profile(profile)))
        assert parse(rendered) == profile
        assert describe(profile)


@given(VALUES)
@example({"spec": [], "metadata": 1})
@example({"apiVersion": [], "kind": {}, "metadata": {"name": "a" * 300, "generation": True}, "spec": {"egress": 1}})
def test_any_value_is_refused(value: Any) -> None:
    assert told(parse, value) is None


@given(st.sampled_from(UPSTREAM).flatmap(lambda obj: meddled(obj, WORDS)), st.booleans())
@settings(max_examples=200)
def test_what_is_refused_is_refused_again(obj: Any, once_more: bool) -> None:
    """A parser that kept something from one object to the next would answer otherwise."""
    first = told(parse, obj)
    told(parse, OBJECTS[once_more])
    assert told(parse, obj) == first


KEYWORDS = st.dictionaries(st.sampled_from([*arguments.KNOWN, *FACE, "profile", "colour", "delays"]), WORDS, max_size=5)


@given(KEYWORDS)
@settings(max_examples=200)
@example({"delay": "10ms", "timeline": [{"for": "1s", "delay": 1}]})
def test_any_marker_is_an_object_or_refused(keywords: dict[str, Any]) -> None:
    reader = SpecReader("default", "suffix", 7, "auto", [Path("/nowhere")])
    obj = told(reader.read, Spec("netem", keywords))
    if obj is not None:
        profile = parse(obj)
        assert parse(render_profile(profile)) == profile


@given(st.sampled_from(["parse_duration", "parse_share", "parse_rate", "parse_size"]), WORDS)
@settings(max_examples=150)
def test_any_quantity_is_read_or_refused(name: str, value: Any) -> None:
    told(getattr(units, name), value, "x")


PODS = [
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "containers": [
                {
                    "name": "main",
                    "image": "none",
                    "command": ["sleep", "1"],
                    "env": [{"name": "A", "value": "b"}],
                    "ports": [{"containerPort": 80}],
                    "readinessProbe": {"httpGet": {"port": 80, "path": "/"}, "periodSeconds": 1},
                    "securityContext": {"runAsUser": 1000},
                }
            ],
            "restartPolicy": "Never",
        },
    },
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    },
]


@given(st.sampled_from(PODS).flatmap(lambda obj: meddled(obj, WORDS)))
@settings(max_examples=150)
def test_any_manifest_is_taken_or_refused(obj: Any) -> None:
    from pytest_k8s_netem.cluster.manifests import load

    for one in told(load, obj) or ():
        told(manifests.check, one)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
@example("&a [*a]")
@example("a: &a {b: *a}")
@example("? [1]: 2")
@example("!!python/object/apply:os.system [true]")
def test_any_text_is_objects_or_refused(text: str) -> None:
    from pytest_k8s_netem.cluster.manifests import load

    if "\n" in text or ":" in text or text.startswith(("{", "[")):
        told(load, text)
