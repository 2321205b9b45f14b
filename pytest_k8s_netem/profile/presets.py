"""Links by name, seen from the impaired pods: ``up`` is what they send, ``down`` what they get; delays are one-way."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_FLEXE = "The preset of that name that k8s-netem ships for its Flexe emulator, in both directions."


class Preset(NamedTuple):
    """A link: words of the vocabulary for each direction, and where the numbers come from."""

    up: Mapping[str, str]
    down: Mapping[str, str]
    source: str


def _both(up: str, down: str, **shared: str) -> tuple[dict[str, str], dict[str, str]]:
    """Two sides that differ in rate only; "" = the link is faster than anything a test sends."""
    first, second = ({"rate": rate} if rate else {} for rate in (up, down))
    return first | shared, second | shared


_OLD_MOBILE = {"loss": "0.5%", "duplicate": "0.1%", "corrupt": "0.1%", "reorder": "0.2%"}

PRESETS: dict[str, Preset] = {
    "ethernet": Preset(*_both("100mbit", "100mbit", delay="0.25ms", jitter="0.25ms"), _FLEXE),
    "3g": Preset(*_both("256kbit", "256kbit", delay="200ms", jitter="50ms", **_OLD_MOBILE), _FLEXE),
    "gprs": Preset(*_both("60kbit", "60kbit", delay="350ms", jitter="100ms", **_OLD_MOBILE), _FLEXE),
    "lte": Preset(*_both("5mbit", "15mbit", delay="7.5ms", jitter="5ms", loss="0.025%"), _FLEXE),
    "xdsl": Preset(*_both("2mbit", "15mbit", delay="7.5ms", jitter="2.5ms"), _FLEXE),
    "5g": Preset(
        *_both("30mbit", "200mbit", delay="10ms", jitter="3ms", loss="0.01%"),
        "Typical values of a mid-band 5G connection, by judgement; measurements vary widely between bands and places "
        "(Narayanan et al., A Variegated Look at 5G in the Wild, SIGCOMM 2021).",
    ),
    "starlink": Preset(
        *_both("15mbit", "150mbit", delay="25ms", jitter="5ms", loss="0.3%"),
        "Delay and its spread from Michel et al., A First Look at Starlink Performance, IMC 2022: round trips from "
        "Belgium to European servers of about 50 ms, half of them within 40 to 60 ms; rates and loss are typical "
        "values, by judgement.",
    ),
    "geo-satellite": Preset(
        *_both("3mbit", "25mbit", delay="270ms", jitter="10ms", loss="0.1%"),
        "Delay within the 239.6 to 279.0 ms that RFC 2488, section 2, gives for one hop over a geostationary "
        "satellite; the rest are typical values, by judgement.",
    ),
    "transatlantic": Preset(
        *_both("", "", delay="37ms", jitter="1ms", loss="0.01%"),
        "Typical values, by judgement: London to New York is 5,570 km, 28 ms one way at two thirds of the speed of "
        "light, and cables are longer than the great circle.",
    ),
    "lossy-wifi": Preset(
        *_both("20mbit", "20mbit", delay="3ms", jitter="3ms", loss_model="gemodel 1% 20% 50% 0.1%"),
        "Typical values, by judgement, of a crowded or distant access point: losses come in bursts, 2.5 % on average.",
    ),
}
PRESETS["dsl"] = PRESETS["xdsl"]
