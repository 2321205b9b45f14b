"""A profile from a file, made part of a run: its name, its place in the order, and the namespaces it may touch."""

from __future__ import annotations

from copy import deepcopy

from pytest_k8s_netem.profile.labels import render_label_selector
from pytest_k8s_netem.profile.rules import NAMESPACE_NAME
from pytest_k8s_netem.profile.trafficprofile import LabelSelector, Operator, Requirement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def adopt(
    obj: Mapping[str, Any],
    *,
    name: str,
    namespaces: tuple[str, ...] = (),
    order: tuple[int, ...] = (),
    seed: int | None = None,
) -> dict[str, Any]:
    """A copy under another name; what the object says itself stays.

    :param obj: an object that :func:`parse.parse` took, of either dialect.
    :param namespaces: confine its pods to these, unless it has a ``namespaceSelector``; () = leave it as it is.
        Its rules' peers keep their meaning.
    """
    copy = deepcopy(dict(obj))
    copy["metadata"] = {**copy.get("metadata", {}), "name": name}
    spec = copy["spec"]
    place = spec.get("pods", spec)
    if namespaces and "namespaceSelector" not in place:
        place["namespaceSelector"] = render_label_selector(
            LabelSelector((Requirement(NAMESPACE_NAME, Operator.IN, namespaces),))
        )
    if order:
        spec.setdefault("order", list(order))
    if seed is not None:
        spec.setdefault("seed", seed)
    return copy
