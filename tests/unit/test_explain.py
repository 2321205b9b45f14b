"""What ``netem explain`` says of markers and objects, and that it is what the controller would do."""

from __future__ import annotations

import ast
import io
import json
from pathlib import Path
from typing import Any

import clusters as c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_k8s_netem import cli
from pytest_k8s_netem.cluster.spec import Spec, SpecReader, refusal
from pytest_k8s_netem.model.match import TCP
from pytest_k8s_netem.model.promises import refused, unpromised
from pytest_k8s_netem.profile.arguments import partition
from pytest_k8s_netem.profile.parse import parse
from pytest_k8s_netem.profile.trafficprofile import TrafficProfile
from pytest_k8s_netem.report.explanation import WIDTH, Explained, explain
from pytest_k8s_netem.report.grounds import WORDS
from pytest_k8s_netem.resolve.expected import EPHEMERAL, expected
from pytest_k8s_netem.resolve.pairs import pairs
from pytest_k8s_netem.resolve.sample import sample
from pytest_k8s_netem.resolve.trips import Trip, trips

ROOT = Path(__file__).parents[2]
PROFILES = ROOT / "fixtures" / "profiles"

USUAL = """\
left alone     ARP, neighbour discovery, each pod's own node (health checks come from there), the
                 API server: unless a rule names them
               the pytest process, forward, and how exec starts a command (not what that sends)
how long       until the test ends; on a cluster 35s longer at most if its run is killed
               pods that come later are met too
engine         kernel if the machine has sch_netem, else userspace
proof          what each pod's kernel holds is read back, before and after the test's body, and must
                 be equal
"""

SLOW_DATABASE = f"""\
delay 100ms ±10ms, loss 1%, egress of app=web to app=db tcp/5432

whose packets  sent by app=web (in the test's namespace) to app=db tcp/5432
what happens   delay: each packet waits 90ms to 110ms, evenly spread; packets may overtake each
                 other
               loss: 1% of the packets vanish, each by its own chance
round trip     app=web with app=db, tcp/5432: 100ms longer on average, 90ms to 110ms, no answer for
                 1% (100ms and 1% lost there, nothing back)
               any other: as without it
{USUAL}               bare TCP packets (no application sees them) show that the packets take that way; a
                 loss below 20%, or one that varies, is read back only
"""

COMMUTER = f"""\
whose packets  sent by every pod (in the test's namespace)
               received by every pod (in the test's namespace)
               a packet between two of them meets it once, at its sender
               on the first interface whose name matches 'eth' from its start
               (by profile= in a marker; applied as an object, it means pods of every namespace)
what happens   what they send:
                 for 20s: delay 7.5ms ±5ms (normal), loss 0.025%, rate 5mbit
                 for 20s: delay 350ms ±5ms (normal), loss 0.5%, corrupt 0.1%, rate 60kbit
                 for 10s: delay 350ms ±5ms (normal), corrupt 0.1%
                 then all over again
               what they receive:
                 for 20s: delay 7.5ms ±5ms (normal), loss 0.025%, rate 15mbit
                 for 20s: delay 350ms ±5ms (normal), loss 0.5%, corrupt 0.1%, rate 80kbit
                 for 10s: delay 350ms ±5ms (normal), corrupt 0.1%, rate 80kbit
                 then all over again
round trip     two of these pods: 430ms longer on average, 128us to 747ms, no answer for 0.42% in
                 the long run (215ms and 0.21% lost there, 215ms and 0.21% lost back)
               one of these pods with anybody else: 431ms longer on average, 85.3us to 746ms, no
                 answer for 0.42% in the long run (215ms and 0.21% lost there, 215ms and 0.21% lost
                 back)
               (small packets, idle link; larger ones and queues take longer, as the rate has it)
{USUAL}               ICMP echo requests show that the packets take that way; a loss below 20%, or one that
                 varies, is read back only
"""


def sections(capsys: pytest.CaptureFixture[str], text: str) -> dict[str, list[str]]:
    """What is told under each heading."""
    assert cli.main(["explain", text, "-o", "json"]) == 0
    told: dict[str, list[str]] = json.loads(capsys.readouterr().out)["told"]
    return told


def test_a_marker_is_told_as_a_page(capsys):
    text = 'delay="100ms", jitter="10ms", loss="1%", pods="app=web", to="app=db", ports="tcp/5432"'
    assert cli.main(["explain", text]) == 0
    assert capsys.readouterr().out == SLOW_DATABASE
    assert SLOW_DATABASE in (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")


def test_a_file_of_type_flexe_is_told_with_its_segments(capsys):
    assert cli.main(["explain", str(PROFILES / "flexe.yaml")]) == 0
    assert capsys.readouterr().out == COMMUTER


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            'delay="100ms"',
            [
                "two of these pods: 200ms longer (100ms there, 100ms back)",
                "one of these pods with anybody else: 100ms longer (100ms there, nothing back)",
            ],
        ),
        (
            'delay="100ms", pods="app=web", to="app=db"',
            ["app=web with app=db: 100ms longer (100ms there, nothing back)", "any other: as without it"],
        ),
        (
            'delay="100ms", to="app=db"',
            [
                "one of these pods with app=db: 100ms longer (100ms there, nothing back)",
                "two of app=db: 200ms longer (100ms there, 100ms back)",
                "any other: as without it",
            ],
        ),
        (
            'delay="100ms", pods="tier=backend", direction="both"',
            [
                "two of tier=backend: 200ms longer (100ms there, 100ms back)",
                "tier=backend with anybody else: 200ms longer (100ms there, 100ms back)",
            ],
        ),
        (
            'rtt="100ms"',
            [
                "two of these pods: 100ms longer (50ms there, 50ms back)",
                "one of these pods with anybody else: 100ms longer (50ms there, 50ms back)",
            ],
        ),
        (
            'loss="10%"',
            [
                "two of these pods: no answer for 19% (10% lost there, 10% lost back)",
                "one of these pods with anybody else: no answer for 10% (10% lost there, nothing back)",
            ],
        ),
        (
            'netem.partition("app=web", "app=db")',
            ["app=web with app=db: no answer ever comes (all lost there, all lost back)", "any other: as without it"],
        ),
        (
            'preset="lte", pods="deploy/web", to=["svc/db", "fqdn:example.org", "10.0.0.0/8"]',
            [
                "deploy/web with svc/db or fqdn:example.org or 10.0.0.0/8: 15.1ms longer on average, 5.09ms to 25.1ms, "
                "no answer for 0.05% (7.56ms and 0.025% lost there, 7.52ms and 0.025% lost back)",
                "any other: as without it",
                "(small packets, idle link; larger ones and queues take longer, as the rate has it)",
            ],
        ),
        (
            'delay="10ms", pods="app=web", count=1',
            [
                "app=web with app=web that was not drawn or anybody else: 10ms longer (10ms there, nothing back)",
            ],
        ),
        (
            'delay="10ms", pods="app=web", to="app=db", direction="both", ports="udp/53", exempt="dns"',
            [
                "app=web with app=db, udp/53 of app=web: 20ms longer (10ms there, 10ms back)",
                "any other: as without it",
            ],
        ),
        (
            'delay="10ms", pods="app=web,app=db"',
            ["none was found: can a pod have all these labels?"],
        ),
    ],
)
def test_what_a_round_trip_gets(capsys, text, told):
    assert sections(capsys, text)["round trip"] == told


def test_a_preset_is_told_with_its_numbers_and_where_they_come_from(capsys):
    assert sections(capsys, 'preset="geo-satellite", loss="1%"')["what happens"] == [
        "what they send:",
        "  delay: each packet waits 260ms to 280ms, evenly spread; packets may overtake each other",
        "  loss: 1% of the packets vanish, each by its own chance",
        "  rate: 3mbit per second; what is sent faster waits in a queue",
        "what they receive:",
        "  delay: each packet waits 260ms to 280ms, evenly spread; packets may overtake each other",
        "  loss: 1% of the packets vanish, each by its own chance",
        "  rate: 25mbit per second; what is sent faster waits in a queue",
        "preset geo-satellite: Delay within the 239.6 to 279.0 ms that RFC 2488, section 2, gives for one hop over a "
        "geostationary satellite; the rest are typical values, by judgement.",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('loss="100%"', "loss: every packet vanishes; the sender is told nothing"),
        (
            'loss_model="gemodel 1% 20% 50%"',
            "loss: 2.38% of the packets vanish in the long run, in bursts (a burst begins with a chance of 1% a packet "
            "and ends with 20%; 50% are lost within it, 0% outside)",
        ),
        ('loss_model="every-nth 10"', "loss: one packet in 10 vanishes, counted from the first"),
        (
            'delay="10ms", jitter="40ms"',
            "delay: each packet waits 0s to 50ms, evenly spread but for 37.5% that do not wait; packets may overtake "
            "each other",
        ),
        (
            'delay="10ms", jitter="2ms", distribution="normal", ordered=True',
            "delay: each packet waits about 10ms (distribution normal: jitter 2ms, at least 2.66ms, at most 17.3ms); "
            "packets keep their order",
        ),
        (
            'slot={"min": "1ms", "max": "2ms", "packets": 5}',
            "slot: packets leave in bursts, 1ms to 2ms apart, at most 5 packets in each",
        ),
    ],
)
def test_what_happens_to_packets(capsys, text, told):
    assert sections(capsys, text)["what happens"] == [told]


def test_what_a_gap_means(capsys):
    assert sections(capsys, 'delay="10ms", reorder="5%", gap=2')["what happens"] == [
        "delay: each packet waits 10ms",
        "reorder: 5% of the packets skip the delay, each after 1 or more that do not, and so overtake others",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('delay="1ms"', ["kernel if the machine has sch_netem, else userspace"]),
        ('delay="1ms", engine="userspace"', ["userspace, as asked"]),
        (
            'loss_model="every-nth 10"',
            ["userspace", 'the kernel engine cannot do loss_model="every-nth"'],
        ),
        (
            'delay="1ms", jitter="1ms", ordered=True, engine="kernel"',
            ["the kernel engine cannot do ordered; as it is asked for, the test will be an error"],
        ),
        (
            'delay="1ms", jitter="1ms", delay_correlation="5%"',
            [
                "kernel if the machine has sch_netem, else userspace",
                "the kernel engine takes delay_correlation without effect",
            ],
        ),
    ],
)
def test_which_engine_can_do_it(capsys, text, told):
    assert sections(capsys, text)["engine"] == told


def test_every_lack_of_an_engine_has_words():
    lacks = {*refused("kernel"), *refused("userspace"), *unpromised("kernel", "6.6")}
    assert lacks - set(WORDS) == set()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('loss="50%"', "ICMP echo requests show that the packets take that way, and how many are lost"),
        ('delay="1ms", ports="udp/53"', "no probe is sent: none would come this way"),
        ('delay="1ms", verify="read-back"', "no probe is sent, as asked"),
        ('delay="1ms", verify="none"', "none, as asked: nothing shows that it took effect"),
    ],
)
def test_how_it_is_proven(capsys, text, told):
    assert sections(capsys, text)["proof"][-1] == told


def test_how_long_and_how_strictly(capsys):
    text = '@pytest.mark.netem(delay="1ms", duration="2m", follow="start", when="first", inert="warn", exempt=())'
    told = sections(capsys, text)
    assert told["how long"] == [
        "120s, or until the test ends; on a cluster 35s longer at most if its run is killed",
        "set up before the test's other fixtures, healed after them",
        "for the pods that are there at the start, and whoever replaces them",
    ]
    assert told["strictness"] == ["if the test's packets never meet it: warn"]
    assert told["left alone"][0] == "ARP, neighbour discovery: unless a rule names them"


@pytest.mark.parametrize("name", sorted(path.name for path in PROFILES.iterdir()))
def test_every_kind_of_object_is_told_from_a_file_and_from_standard_input(capsys, monkeypatch, name):
    monkeypatch.chdir(PROFILES)
    assert cli.main(["explain", name]) == 0
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= WIDTH
    monkeypatch.setattr("sys.stdin", io.StringIO((PROFILES / name).read_text(encoding="utf-8")))
    assert cli.main(["explain", "-"]) == 0
    assert capsys.readouterr().out == page


def test_peers_that_are_looked_for_elsewhere_are_told(capsys):
    told = sections(capsys, str(PROFILES / "native.yaml"))
    assert told["whose packets"][2] == "app=db is looked for in every namespace"
    assert sections(capsys, 'delay="1ms", pods="container/redis", to="app=db", namespaces=["a", "b"]')[
        "whose packets"
    ] == ["sent by container/redis to app=db", "app=db is looked for in namespace a or b"]


def test_of_a_script_nothing_is_claimed(capsys):
    told = sections(capsys, str(PROFILES / "script.yaml"))
    assert told["round trip"] == ["as the executable has it"]
    assert "--netem-allow-script" in told["what happens"][-1]


@pytest.mark.parametrize(
    "text",
    [
        'dely="100ms"',
        'delay="100ms", loss=0.01, rate="10mbps"',
        'rtt="1ms", direction="both"',
        'delay="1ms", when="later", follow="always"',
        'delay="1ms", pods="web"',
        'profile="nowhere.yaml", inert="no"',
    ],
)
def test_a_mistake_is_told_as_the_marker_tells_it(capsys, monkeypatch, tmp_path, text):
    monkeypatch.chdir(tmp_path)
    call = ast.parse(f"f({text})", mode="eval").body
    assert isinstance(call, ast.Call)
    said = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    assert mistake(capsys, text) == refusal(Spec("netem", said), [tmp_path])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('@pytest.mark.netem("100ms")', '"100ms": a value without a name; write it as keyword: delay="100ms"'),
        (
            "delay=100ms",
            "delay=100ms: neither a file nor a marker's arguments; write them as in Python, all in single quotes so "
            'that the shell leaves the double ones: netem explain \'delay="100ms", pods="app=web"\'',
        ),
        (
            'delay=timedelta(seconds=1), pods="app=web"',
            'delay=timedelta(seconds=1): not a literal, and nothing is evaluated here; write the value: "100ms"',
        ),
        ('delay="1ms", delay="2ms"', "delay: is given twice; keep one of them"),
        ('**SLOW, pods="app=web"', "SLOW: ** cannot be looked into; write its arguments one by one"),
        ('partition("app=web", "app=db", loss="5%")', 'loss="5%": partition(a, b) says it already; leave out loss'),
        ("netem(None)", "netem(None) switches inherited markers off: nothing happens to packets"),
    ],
)
def test_what_is_no_marker_is_told(capsys, text, told):
    assert mistake(capsys, text) == told


def test_a_wrong_file_is_told_with_every_mistake(capsys, tmp_path):
    wrong = tmp_path / "wan.yaml"
    wrong.write_text((PROFILES / "native.yaml").read_text(encoding="utf-8").replace("delay: 40ms", "dely: 40"))
    told = mistake(capsys, str(wrong)).splitlines()
    assert told[0] == f"profile={wrong} is not a valid TrafficProfile"
    assert told[1] == "spec.impairment.egress.dely: unknown field; did you mean delay?"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no object in manifest"),
        ("foo", "manifest: document 1 is no manifest: it needs apiVersion and kind"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n",
            "standard input: expected one TrafficProfile, found Pod",
        ),
    ],
)
def test_what_is_no_object_on_standard_input_is_told(capsys, monkeypatch, text, told):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert mistake(capsys, "-") == told


def test_bytes_on_standard_input_are_told(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\x85"), encoding="utf-8"))
    assert mistake(capsys, "-").startswith("standard input is not YAML: not text in UTF-8")


@pytest.mark.parametrize("text", ["(" * 5000, "delay=" + "[" * 5000, "a\0b", "/", "x" * 300])
def test_nonsense_is_told_in_short(capsys, text):
    assert len(mistake(capsys, text)) < 300


def mistake(capsys: pytest.CaptureFixture[str], text: str) -> str:
    """What is told of what cannot be meant; nothing else is."""
    assert cli.main(["explain", text]) == 2
    out, told = capsys.readouterr()
    assert out == ""
    return told.removesuffix("\n")


def read(said: dict[str, Any], namespace: str = "default") -> TrafficProfile:
    return parse(SpecReader(namespace, "0", 0, "auto").read(Spec("netem", said)))


def between(profile: TrafficProfile, one: str, other: str) -> Trip | None:
    """What is told of a round trip between two parties."""
    told, _ = trips(sample(profile))
    for trip in told:
        ones, others = ({party.label for party in side} for side in (trip.ones, trip.others))
        if one in ones and other in others and (ones == others) == (one == other):
            return trip
    return None


@pytest.mark.parametrize(
    ("said", "port"),
    [
        ({"delay": "100ms", "to": "app=db"}, 0),
        ({"delay": "100ms", "direction": "both", "to": "app=db"}, 0),
        ({"rtt": "81ms", "loss": "3%", "to": "app=db"}, 0),
        ({"preset": "lossy-wifi", "to": "app=db"}, 0),
        ({"delay": "20ms", "jitter": "5ms", "distribution": "pareto", "to": "app=db", "ports": "tcp/5432"}, 5432),
        ({"delay": "20ms", "from_": "app=db", "src_ports": "tcp/5432"}, 5432),
        ({"delay": "20ms", "except_": "app=db"}, 0),
        (partition("app=web", "app=db"), 0),
    ],
)
def test_a_told_round_trip_is_that_of_a_cluster(said, port):
    profile = read({"pods": "app=web", **said})
    world = c.world(c.pod("web", 1, app="web"), c.pod("db", 2, app="db"), profiles=(profile,))
    seen = expected("default/web", "default/db", world, **({"protocol": TCP, "port": port} if port else {}))
    told = between(profile, "app=web", "app=db")
    assert (told.seen.round_trip if told else None) == (seen.round_trip if seen.rtt[2] or seen.loss else None)


@given(c.profiles("p"))
@settings(max_examples=150, deadline=None)
def test_what_assertions_measure_is_what_is_told(profile: TrafficProfile) -> None:
    found = sample(profile)
    told, _ = trips(found)
    party = {pod: party for party in found.parties for pod in party.pods}
    for pair in pairs(found.index, "p"):
        check, one, other = pair.check, party[pair.pod], party[pair.remote]
        ports = (0, check.port) if check.local_port else (check.port, EPHEMERAL)
        how = {"protocol": TCP, "port": ports[0], "client_port": ports[1]} if check.kind == "tcp" else {}
        seen = expected(pair.pod, pair.remote, found.index, **how)
        if one.within or other.within or not (seen.rtt[2] or seen.loss):
            continue  # the selected among the peers are told with the others
        sides = [{one.label, other.label}] if one is not other else [{one.label}]
        assert any(
            (trip.seen.rtt, trip.seen.loss) == (seen.rtt, pytest.approx(seen.loss))
            for trip in told
            for a in trip.ones
            for b in trip.others
            if {a.label, b.label} in sides
        )


@given(c.profiles("p"), st.sampled_from(((), ("lte",))))
@settings(max_examples=150, deadline=None)
def test_any_profile_can_be_told(profile: TrafficProfile, presets: tuple[str, ...]) -> None:
    page = explain(Explained(profile, presets))
    assert max(map(len, page)) <= WIDTH
    assert any(line.startswith("round trip") for line in page)
