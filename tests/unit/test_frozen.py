"""Frozen classes beside what a dataclass makes of the same fields."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, is_dataclass, replace

import pytest

from pytest_k8s_netem.model.frozen import defaults, frozen


@frozen
class Ours:
    """Some fields."""

    name: str
    index: int
    mac: str = ""
    addresses: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        return f"{self.name} {self.index}"


@dataclass(frozen=True, slots=True)
class Theirs:
    """Some fields."""

    name: str
    index: int
    mac: str = ""
    addresses: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        return f"{self.name} {self.index}"


BOTH = pytest.mark.parametrize("cls", [Ours, Theirs])


@BOTH
def test_values_and_defaults(cls):
    value = cls("eth0", index=3, addresses=("10.0.0.1",))
    assert (value.name, value.index, value.mac, value.addresses) == ("eth0", 3, "", ("10.0.0.1",))
    assert value.shown == "eth0 3"
    assert repr(value).endswith("(name='eth0', index=3, mac='', addresses=('10.0.0.1',))")
    assert dict(defaults(cls)) == {"mac": "", "addresses": ()}
    assert cls.__doc__ == "Some fields."
    assert not hasattr(value, "__dict__")


@BOTH
def test_equality_is_by_value_and_class(cls):
    value = cls("eth0", 3)
    assert value == cls("eth0", 3, "")
    assert hash(value) == hash(cls("eth0", 3))
    assert value not in (cls("eth1", 3), ("eth0", 3, "", ()), Ours("eth0", 3) if cls is Theirs else Theirs("eth0", 3))
    match value:
        case cls(name, 3):
            assert name == "eth0"


@BOTH
@pytest.mark.parametrize(
    ("values", "named"),
    [(("eth0",), {}), ((), {}), (("eth0", 1, "", (), 5), {}), (("eth0", 1), {"other": 1}), (("eth0", 1), {"name": ""})],
)
def test_other_fields_are_refused(cls, values, named):
    with pytest.raises(TypeError):
        cls(*values, **named)


@BOTH
def test_dataclasses_know_it(cls):
    value = cls("eth0", 3)
    assert replace(value, mac="02:00:00:00:00:01") == cls("eth0", 3, "02:00:00:00:00:01")
    assert [f.name for f in fields(cls)] == ["name", "index", "mac", "addresses"]
    assert asdict(value) == {"name": "eth0", "index": 3, "mac": "", "addresses": ()}
    assert is_dataclass(cls)
    assert fields(cls) == fields(cls)  # noted once: to find them out takes a thousand times as long as `replace`


@BOTH
def test_nothing_changes(cls):
    value = cls("eth0", 3)
    with pytest.raises(AttributeError):
        value.name = "eth1"
    with pytest.raises(AttributeError):
        del value.name
    assert value == cls("eth0", 3)
