"""Who made what: a run's id, and the labels on everything it makes outside its own process."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
import time
from dataclasses import dataclass, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "k8s-netem.riasc.eu/"
RUN, TEST, OWNER, EXPIRY = (PREFIX + name for name in ("run", "test", "owner", "expiry"))
CALLED = f"{PREFIX}name"
"""The annotation of a TrafficProfile that holds what the user calls it."""
INJECT, INJECTED = f"{PREFIX}inject", "enabled"
"""The label of namespaces whose pods may be given agents, and its value there."""
EXPIRY_AFTER = 6 * 3600
"""Seconds after which a sweep may take what carries the label, whoever made it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One pytest process of one run.

    :ivar run: eight hex digits, the same for all xdist workers of a run. :ivar worker: ``gw0`` ..., or "".
    :ivar owner: user and host, as a label value.
    """

    run: str
    worker: str = ""
    owner: str = ""

    @classmethod
    def of(cls, environ: Mapping[str, str] = os.environ, *, uid: str = "", worker: str = "") -> Identity:
        """This process's.

        :param uid: of the run, and ``worker``, as xdist tells its workers; not by environment, which a run that a test
            starts inherits.
        """
        run = hashlib.sha256(uid.encode()).hexdigest()[:8] if uid else secrets.token_hex(4)
        user = next((environ[name] for name in ("USER", "LOGNAME", "USERNAME") if environ.get(name)), "somebody")
        return cls(run, worker, label_value(f"{user}.{socket.gethostname()}"))

    @classmethod
    def named(cls, name: str, environ: Mapping[str, str] = os.environ) -> Identity:
        """This process's, by its :attr:`name`, which stands for run and worker."""
        run, _, worker = name.partition("-")
        return replace(cls.of(environ), run=run, worker=worker)

    @property
    def name(self) -> str:
        """Unique among all processes of all runs on this machine: run and worker."""
        return f"{self.run}-{self.worker}" if self.worker else self.run

    @property
    def seed(self) -> int:
        """32 bits drawn for this run, the same for all its xdist workers."""
        return int(self.run, 16)

    def labels(self, test: str = "", expires_in: float = EXPIRY_AFTER) -> dict[str, str]:
        """Labels for an object.

        :param test: node id of the test that asked for it. :param expires_in: seconds.
        """
        labels = {RUN: self.name, OWNER: self.owner, EXPIRY: str(int(time.time() + expires_in))}
        return labels | ({TEST: label_value(test)} if test else {})


def label_value(text: str) -> str:
    """``text`` as a Kubernetes label value: at most 63 characters, a hash at the end where letters had to go."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("._-")
    if clean == text and len(clean) <= 63:
        return clean
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{clean[-54:].strip('._-')}-{digest}".lstrip("-")


def expired(labels: Mapping[str, str], now: float | None = None) -> bool:
    """Whether an object's time is over; what carries no readable expiry never expires."""
    text = labels.get(EXPIRY, "")
    return text.isdecimal() and int(text) < (time.time() if now is None else now)
