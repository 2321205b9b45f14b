"""Two pods on two nodes and the road between them: what the peer captured, and what the client's clock says.

Profiles take what goes to or comes from port 4000. Beside each datagram to it goes a twin to port 4001, which no
profile means: it must come whole, and how far a datagram is behind its twin is told by the peer's clock alone.
"""

from __future__ import annotations

import itertools
import json
import statistics
import urllib.parse
from dataclasses import dataclass
from typing import Any

from road import Arrival, Flow

PORT = 4000
MAPPED = 10_000
"""A Service's port less the pods' port behind it."""
GET = "import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1]).read().decode())"
_flows = itertools.count(1)


@dataclass(frozen=True)
class Seen:
    """One flow.

    :ivar taken: captured at the peer. :ivar twins: the same of the twins. :ivar back: as they came back to the
        sender: :attr:`Arrival.delay` is the round trip by its clock.
    """

    taken: Flow
    twins: Flow
    back: Flow

    @property
    def behind(self) -> list[float]:
        """ms by the peer's clock from a twin's arrival to its datagram's."""
        twins = {arrival.number: arrival.taken for arrival in self.twins.arrivals}
        return [(arrival.taken - twins[arrival.number]) / 1e6 for arrival in self.taken.arrivals]

    @property
    def median_behind(self) -> float:
        return statistics.median(self.behind)


class PodRoad:
    """What a test does with pods ``left``, which profiles select, and ``right``, its peer.

    :param services: ClusterIP of each pod's Service.
    """

    def __init__(self, cluster: Any, netem: Any, services: dict[str, str]) -> None:
        self._netem, self._cluster = netem, cluster
        self._addresses = {
            "pod": {name: cluster.pod(name).ip for name in services},
            "service": services,
        }

    def impair(self, direction: str, **words: Any) -> Any:
        """A block in which what ``left`` sends to ``right``, or gets from there, is impaired."""
        way = {"to": "app=right"} if direction == "egress" else {"from_": "app=right"}
        return self._netem.impair(
            pods="app=left", **way, ports=f"udp/{PORT}", unexercised="ignore", inert="ignore", **words
        )

    def partition(self) -> Any:
        return self._netem.partition("app=left", "app=right", unexercised="ignore", inert="ignore")

    def flow(
        self,
        direction: str,
        through: str,
        count: int,
        *,
        size: int = 64,
        pause: float = 0.001,
        quiet: float = 0.6,
        twins: bool = True,
    ) -> Seen:
        """Send ``count`` datagrams of ``size`` bytes, ``pause`` s apart; what the other end and the sender saw.

        :param through: ``pod`` or ``service``: whose address they are sent to.
        :param twins: whether each has one beside it; they are known to have come whole and in order then.
        """
        sender, target = ("left", "right") if direction == "egress" else ("right", "left")
        first = PORT + (MAPPED if through == "service" else 0)
        flow = next(_flows)
        query = {
            "to": self._addresses[through][target],
            "ports": f"{first},{first + 1}" if twins else str(first),
            "flow": flow,
            "count": count,
            "size": size,
            "pause": pause,
            "quiet": quiet,
        }
        back = self._ask(sender, "send", query)
        taken = self._ask(target, "taken", {"flow": flow})
        seen = Seen(*(flow_of(count, entries) for entries in (taken[0], taken[1], back[0])))
        if twins:
            assert seen.twins.numbers == list(range(count)), "what no profile means has not come as it was sent"
        return seen

    def _ask(self, pod: str, what: str, query: dict[str, Any]) -> Any:
        url = f"http://127.0.0.1/{what}?{urllib.parse.urlencode(query)}"
        return json.loads(self._cluster.exec(pod, ["python3", "-c", GET, url]).stdout)


def flow_of(count: int, entries: list[list[int]]) -> Flow:
    """In order of arrival."""
    return Flow(count, tuple(sorted((Arrival(*entry) for entry in entries), key=lambda arrival: arrival.taken)))


def service(name: str) -> dict[str, Any]:
    """A Service that maps each port to another."""
    ports = [
        {"name": f"udp-{port}", "protocol": "UDP", "port": port + MAPPED, "targetPort": port}
        for port in (PORT, PORT + 1)
    ]
    spec = {"selector": {"app": name}, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
