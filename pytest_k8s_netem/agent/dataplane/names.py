"""How devices, filters and actions of ours are told from other people's."""

from __future__ import annotations

import os

PREFIX = "netem-"
ALIAS = "pytest-k8s-netem"
"""Written to every device of ours (IFLA_IFALIAS): with :data:`PREFIX` it makes leftovers recognisable."""
MAX_NAME = 15
"""IFNAMSIZ of linux/if.h without the final NUL."""

PRIORITIES = range(0x4E00, 0x7000)
"""Filter priorities that are ours on a clsact hook."""
PASS = PRIORITIES.start
"""Priority of the filter that lets marked frames pass: before all classes."""
CLASSES = 0x4E45_0000
"""Major number of the class ids that our filters give."""
COOKIE = b"pytest-k8s-netem"
"""Sixteen bytes by which actions (TCA_ACT_COOKIE) and probe packets of ours are told from others."""
MARK = 0x4E45544D
"""Mark of a frame that the user-space engine hands back: it passes our ingress filters once."""


TRIAL = ("try", "peer")
"""Roles of devices on which a starting agent finds out what its kernel can do."""


def device(role: str) -> str:
    """A new device name: prefix, role of at most four letters, random digits.

    :raises ValueError: if the role is longer.
    """
    if len(role) > 4:
        raise ValueError(f"role {role!r} has more than four letters")
    digits = MAX_NAME - len(PREFIX) - len(role)
    return f"{PREFIX}{role}{os.urandom(4).hex()[: min(digits, 8)]}"


def handle() -> int:
    """A new handle for filters: by it each agent knows its own from those that another one put on the same hook."""
    return int.from_bytes(os.urandom(4)) >> 1 | 1


def class_id(priority: int) -> int:
    """The class id that a filter of ours gives, by its priority."""
    return CLASSES | (priority - PASS + 1)


def is_trial(name: str) -> bool:
    """Whether a device was made to try something on, perhaps just now: it is its maker's to remove."""
    return name.startswith(tuple(PREFIX + role for role in TRIAL))


def is_ours(name: str, alias: str = ALIAS) -> bool:
    """Whether a device of that name and alias was made by :func:`device`."""
    return name.startswith(PREFIX) and alias == ALIAS
