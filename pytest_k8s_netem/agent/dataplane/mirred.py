"""The action that hands packets to another device (linux/tc_act/tc_mirred.h), as an attribute of a filter."""

from __future__ import annotations

import struct

from pytest_k8s_netem.agent.dataplane.attributes import attribute, by_type, nested, text
from pytest_k8s_netem.agent.dataplane.tc import Stats, stats
from pytest_k8s_netem.model.frozen import frozen

KIND = "mirred"
_ACT_KIND, _ACT_OPTIONS, _ACT_STATS, _PARMS = 1, 2, 4, 2  # linux/pkt_cls.h, TCA_ACT_*; TCA_MIRRED_PARMS
_TC_MIRRED = struct.Struct("=IIiiiiI")
"""struct tc_mirred: index, capabilities, what becomes of the packet, two counts, which way, device."""
_STOLEN, _EGRESS_REDIRECT, _INGRESS_REDIRECT = 4, 1, 3


def redirect(kind: int, device: int, *, received: bool = False, action: int = 0) -> bytes:
    """The attribute ``kind`` of a filter, its actions: hand the packet to a device, to be sent or as received on it.

    :param action: index of one that filters share: the first that names it makes it, with the last it goes; 0 = none.
    """
    way = _INGRESS_REDIRECT if received else _EGRESS_REDIRECT
    parameters = attribute(_PARMS, _TC_MIRRED.pack(action, 0, _STOLEN, 0, 0, way, device))
    return nested(kind, nested(1, text(_ACT_KIND, KIND), nested(_ACT_OPTIONS, parameters)))


@frozen
class Redirect:
    """A redirect as the kernel lists it.

    :ivar action: index by which filters share it. :ivar filters: how many do.
    :ivar target: the device; 0: there is no redirect.
    """

    action: int
    filters: int
    target: int
    counted: Stats


def of_filter(actions: bytes) -> Redirect:
    """Read the payload of what :func:`redirect` made."""
    return of_action(by_type(actions).get(1, b""))


def of_action(raw: bytes) -> Redirect:
    """Read the attributes (TCA_ACT_*) of one action."""
    found = by_type(raw)
    parameters = by_type(found.get(_ACT_OPTIONS, b"")).get(_PARMS, bytes(_TC_MIRRED.size))
    action, _capabilities, _verdict, _references, filters, _way, target = _TC_MIRRED.unpack_from(parameters)
    return Redirect(action, filters, target, stats(found.get(_ACT_STATS, b"")))
