"""An impairment in the user's hands."""

from __future__ import annotations

import itertools
from contextlib import contextmanager

from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.model.problem import Problem
from pytest_k8s_netem.profile.findings import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from pytest_k8s_netem.cluster.imposition import Imposition
    from pytest_k8s_netem.cluster.measuring import Measuring
    from pytest_k8s_netem.cluster.record import Record
    from pytest_k8s_netem.cluster.spec import Spec, SpecReader
    from pytest_k8s_netem.model.observed import Observed
    from pytest_k8s_netem.run.portal import Portal


FIXED = ("name", "when")
"""Arguments of a marker that no change reaches: the impairment has its name and has been set up."""


class NetemProfile:
    """The handle of one impairment: change it, pause it, ask what it does.

    Every change returns when the new state is proven; an invalid change raises
    :class:`~pytest_k8s_netem.errors.ConfigError` and has changed nothing.
    """

    def __init__(
        self, portal: Portal, imposition: Imposition, spec: Spec, reader: SpecReader, measuring: Measuring
    ) -> None:
        self._portal, self._imposition = portal, imposition
        self.spec = spec  # what was said, changes included
        self._reader, self._measuring = reader, measuring

    def __repr__(self) -> str:
        return f"<NetemProfile {self.name}: {self._imposition.record.phrase}>"

    @property
    def name(self) -> str:
        """As given by ``name=``, or ``netem``, ``netem-2`` ..."""
        return self._imposition.name

    @property
    def applied(self) -> bool:
        """Whether it is in force now."""
        return self._imposition.applied

    @property
    def engine(self) -> str:
        """``kernel`` or ``userspace``; both, joined by a comma, where pods differ.

        :raises NotApplied: while it is not in force.
        """
        self._imposition.demand()
        return ",".join(sorted(self._imposition.record.engines))

    @property
    def object(self) -> dict[str, Any]:
        """The TrafficProfile, as Kubernetes writes it."""
        return self._imposition.object

    @property
    def record(self) -> Record:
        """What is known so far: pods, packets met, probes, gaps."""
        return self._imposition.record

    def update(self, **arguments: Any) -> None:
        """Change some of the marker's arguments; the others stay. ``None`` takes one away.

        A ``duration`` counts from the first start of the impairment (after :meth:`pause`, from the end of the pause),
        not from the change; one that has passed by then ends it.
        """
        self._change(arguments, self.spec.merged)

    def replace(self, **arguments: Any) -> None:
        """Replace all arguments by others."""
        self._change(arguments, self.spec.replaced)

    def _change(self, arguments: Mapping[str, Any], changed: Callable[[Mapping[str, Any]], Spec]) -> None:
        self._imposition.demand()
        if fixed := [
            Problem(key, shown(arguments[key]), "cannot be changed", f"leave {key} out")
            for key in FIXED
            if key in arguments
        ]:
            raise ConfigError(problems=fixed)
        spec = changed(arguments)
        obj = self._reader.read(spec)
        self._portal.call(self._imposition.change(obj))
        self.spec = spec

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Restore a healthy network for the length of a ``with`` block; impaired and proven again at its end."""
        self._portal.call(self._imposition.pause())
        try:
            yield
        finally:
            self._portal.call(self._imposition.begin())

    def observed(self) -> dict[str, Observed]:
        """Each impaired pod (``namespace/name``) as its kernel is now, read back."""
        return self._portal.call(self._imposition.observed())

    def assert_rtt(
        self, *, median: str | tuple[str, str] | None = None, p99: str | tuple[str, str] | None = None
    ) -> None:
        """Assert round trip times of every (pod, peer) pair: ``median=("100ms", "140ms")``, ``p99="200ms"`` (at most).

        :raises AssertionError: naming the worst pair, asked against measured.
        """
        self._portal.call(self._measuring.assert_rtt(self._imposition, median=median, p99=p99))

    def assert_loss(self, share: str | tuple[str, str]) -> None:
        """Assert that the measured loss of every pair is this share, or within these two; false alarms below 1e-6.

        :raises AssertionError: naming the worst pair, asked against measured.
        """
        self._portal.call(self._measuring.assert_loss(self._imposition, share))

    def assert_rate(self, rate: str | tuple[str, str]) -> None:
        """Assert that full-size packets come through at this rate (within 10 %), or between these two.

        Probes see no more than 100mbit.

        :raises AssertionError: naming the worst pair, asked against measured.
        """
        self._portal.call(self._measuring.assert_rate(self._imposition, rate))


class NetemProfiles(dict[str, NetemProfile]):
    """Handles by name; asking for one that is not there names those that are."""

    def __missing__(self, name: str) -> NetemProfile:
        there = ", ".join(repr(key) for key in self) or "none"
        raise ConfigError(f"no impairment is called {name!r} in this test; there are: {there}")

    @property
    def only(self) -> NetemProfile | None:
        """The one handle, or None when there is none.

        :raises ConfigError: if there are several.
        """
        if len(self) > 1:
            names = ", ".join(repr(name) for name in self)
            raise ConfigError(
                f"this test has {len(self)} impairments ({names}): take the fixture netem_profiles and choose by name"
            )
        return next(iter(self.values()), None)


def unused_name(base: str, taken: Mapping[str, object]) -> str:
    """``base``, or ``base-2``, ``base-3`` ... whichever is free."""
    names = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
    return next(name for name in names if name not in taken)
