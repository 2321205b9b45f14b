"""What a marker, fixture or call says, and the TrafficProfile object that it means in a given test."""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_k8s_netem.cluster import manifests
from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.model.problem import Problem
from pytest_k8s_netem.profile import arguments as vocabulary
from pytest_k8s_netem.profile.findings import refusal as refused
from pytest_k8s_netem.profile.findings import shown
from pytest_k8s_netem.profile.parse import NAME, parse
from pytest_k8s_netem.profile.rules import NAMESPACE_LABEL
from pytest_k8s_netem.run.identity import CALLED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from pytest_k8s_netem.api.protocol import Object

FACE = ("when", "inert", "unexercised")
"""Arguments that say when and how strictly, not what; they never reach the object."""
CHOICES = {
    "when": ("last", "first"),
    "inert": ("error", "warn", "ignore"),
    "unexercised": ("error", "warn", "ignore"),
}


@dataclass(frozen=True, slots=True)
class Spec:
    """What was said.

    :ivar arguments: keywords of a marker; ``profile`` names a file or is an object.
    :ivar order: see TrafficProfile.order.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    order: tuple[int, ...] = ()

    @property
    def face(self) -> dict[str, str]:
        """When and how strictly: the arguments of :data:`FACE` that were given."""
        return {key: self.arguments[key] for key in FACE if key in self.arguments}

    def merged(self, update: Mapping[str, Any]) -> Spec:
        """With some arguments changed."""
        return replace(self, arguments=vocabulary.merge(self.arguments, update))

    def replaced(self, arguments: Mapping[str, Any]) -> Spec:
        """With other arguments, but the same strictness."""
        return replace(self, arguments={**self.face, **arguments})

    @classmethod
    def of(cls, name: str, said: object, order: tuple[int, ...] = ()) -> Spec:
        """From what ``netem_spec`` may be: a mapping of arguments, a TrafficProfile object, a path.

        :raises ConfigError: for anything else.
        """
        if isinstance(said, Spec):
            return said
        if isinstance(said, str | Path):
            return cls(name, {"profile": said}, order)
        if isinstance(said, Mapping):
            whole = "kind" in said or "apiVersion" in said
            arguments = {"profile": said} if whole else {k: v for k, v in said.items() if k != "name"}
            return cls(str(said.get("name") or name) if not whole else name, arguments, order)
        raise ConfigError(
            f"netem_spec is {type(said).__name__}; it may be a mapping of the marker's arguments, "
            "the path of a TrafficProfile, such an object, or None for a healthy control run"
        )


@dataclass(frozen=True, slots=True)
class SpecReader:
    """Turns a :class:`Spec` into the object for one test.

    :ivar namespace: the test's. :ivar suffix: makes object names unique in the run. :ivar seed: of the test.
    :ivar folders: where a profile's file is looked for, in order. :ivar labels: put on the object.
    :ivar lease: of the run, which the object is to end with; "" = none.
    """

    namespace: str
    suffix: str
    seed: int
    engine: str
    folders: Sequence[Path] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    lease: str = ""

    def read(self, spec: Spec) -> Object:
        """The object, checked.

        :raises ConfigError: with every problem, each naming its argument.
        """
        _check_face(spec)
        obj = self._from_profile(spec) if "profile" in spec.arguments else self._from_arguments(spec)
        metadata = {"name": f"{spec.name}-{self.suffix}", "labels": {**self.labels}}
        obj = {**obj, "metadata": {**metadata, "annotations": {CALLED: spec.name}}}
        if isinstance(obj["spec"], dict):
            obj["spec"] = {**self._defaults(spec), **obj["spec"]}
        try:
            parse(obj)
        except ConfigError as error:
            if "profile" not in spec.arguments or not error.problems:
                raise
            raise ConfigError(f"{_source(spec)} is not a valid TrafficProfile", error.problems) from None
        return obj

    def _defaults(self, spec: Spec) -> Object:
        """What holds for the test where the object says nothing."""
        told: Object = {"seed": self._seed(spec.name)}
        if self.engine != "auto":
            told["engine"] = self.engine
        if self.lease:
            told["lease"] = self.lease
        if spec.order:
            told["order"] = list(spec.order)
        return told

    def _from_arguments(self, spec: Spec) -> Object:
        plain = {key: value for key, value in spec.arguments.items() if key not in FACE}
        return vocabulary.from_arguments(plain, name=spec.name, namespace=self.namespace)

    def _from_profile(self, spec: Spec) -> Object:
        source = spec.arguments["profile"]
        beside = sorted(set(spec.arguments) - {"profile", "namespaces", *FACE})
        if beside:
            raise ConfigError(
                f"profile= stands for all of it: leave out {', '.join(beside)}, or write them in the file"
            )
        objects = manifests.load(self.find(source) if isinstance(source, str | Path) else source)
        if len(objects) != 1 or objects[0]["kind"] != "TrafficProfile":
            kinds = ", ".join(str(obj["kind"]) for obj in objects)
            raise ConfigError(f"{_source(spec)}: expected one TrafficProfile, found {kinds}")
        obj = copy.deepcopy(objects[0])
        obj.setdefault("spec", {})
        if isinstance(obj["spec"], dict):
            self._confine(obj["spec"], spec)
        return obj

    def _confine(self, obj: Object, spec: Spec) -> None:
        """Its pods are those of the test's namespace, unless file or marker say otherwise."""
        said = spec.arguments.get("namespaces")
        names = vocabulary.parse_namespaces(self.namespace if said is None else said)
        if "namespaceSelector" in obj:
            if said is not None:
                why = f"{_source(spec)} has a namespaceSelector of its own"
                raise refused("namespaces", said, why, "leave one of them out")
        elif names:
            requirement = {"key": NAMESPACE_LABEL, "operator": "In", "values": list(names)}
            obj["namespaceSelector"] = {"matchExpressions": [requirement]}

    def find(self, source: str | Path) -> Path:
        """The file that a profile's path means.

        :raises ConfigError: naming every place where it was looked for.
        """
        tried = [folder / source for folder in self.folders] or [Path(source)]
        for path in tried:
            with contextlib.suppress(OSError):  # a name that no file can have
                if path.is_file():
                    return path
        where = " nor ".join(str(path) for path in dict.fromkeys(tried))
        raise ConfigError(f"profile={source}: no such file: {where}")

    def _seed(self, name: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{name}".encode()).digest()[:4], "big")


def _source(spec: Spec) -> str:
    source = spec.arguments["profile"]
    return f"profile={source}" if isinstance(source, str | Path) else f"the object of {spec.name!r}"


def refusal(spec: Spec, folders: Sequence[Path]) -> str:
    """Why a spec cannot be meant, as far as that can be said without a cluster; "" = it can."""
    reader = SpecReader("default", "0", 0, "auto", folders)
    face = list(_face_problems(spec))
    plain = Spec("netem", {key: value for key, value in spec.arguments.items() if key not in FACE}, spec.order)
    try:
        profile = spec.arguments.get("profile")
        if isinstance(profile, str | Path):
            reader.find(profile)  # read at setup: a collect-only run loads no YAML parser
        else:
            reader.read(plain)
    except ConfigError as error:
        return "\n".join([*map(str, face), str(error)])
    return "\n".join(map(str, face))


def named_twice(name: str) -> str:
    """What to tell of two impairments of one name in one test."""
    return f"two impairments are called {name!r}; give one of them another name="


def _check_face(spec: Spec) -> None:
    if problems := list(_face_problems(spec)):
        raise ConfigError(problems=problems)


def _face_problems(spec: Spec) -> Iterator[Problem]:
    """What is wrong with a spec's name, and with when and how strictly it is taken."""
    if not NAME.fullmatch(spec.name):
        yield Problem(
            "name", shown(spec.name), "cannot be part of an object's name", "use lower-case letters, digits and -"
        )
    for key, value in spec.face.items():
        if value not in CHOICES[key]:
            yield Problem(key, shown(value), f"expected one of {', '.join(CHOICES[key])}")
