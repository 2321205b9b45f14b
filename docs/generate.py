"""Write the parts of the documentation that the code knows: ``python docs/generate.py``.

A page marks them by ``<!-- generated: NAME -->`` and ``<!-- end of generated -->``; what stands between is replaced by
what the function ``NAME`` of this file returns. With ``--check`` nothing is written, and the exit status is 1 if a page
is not current.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import inspect
import io
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _pytest.fixtures import FixtureFunctionMarker

HERE = Path(__file__).parent
PACKAGE = "pytest_k8s_netem"
_REGION = re.compile(r"(?P<begin><!-- generated: (?P<name>\w+) -->\n).*?(?P<end><!-- end of generated -->)", re.DOTALL)
_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)??(\w+(?:\.\w+)?)`")
_FIELD = re.compile(r"\s*:(param|raises|ivar)\s+([^:]+):\s*")
_FIELDS = re.compile(r"\n(?=:(?:param|raises|ivar) )")


def current(text: str) -> str:
    """A page with every generated part as the code has it now."""
    return _REGION.sub(lambda match: f"{match['begin']}\n{PARTS[match['name']]().strip()}\n\n{match['end']}", text)


def pages() -> Iterator[Path]:
    """Every page that may have generated parts."""
    yield from sorted(HERE.rglob("*.md"))


def main(argv: list[str]) -> int:
    """Write what is not current, or with ``--check`` only say so."""
    stale = [page for page in pages() if current(text := page.read_text(encoding="utf-8")) != text]
    for page in stale:
        sys.stdout.write(f"{page.relative_to(HERE)}\n")
        if "--check" not in argv:
            page.write_text(current(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 1 if stale and "--check" in argv else 0


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; bars in cells are escaped."""
    names = list(head)
    lines = [names, ["---"] * len(names), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(words: Iterable[object]) -> str:
    """Words as code, with commas between."""
    return ", ".join(f"`{word}`" for word in words)


def markdown(docstring: str | None) -> str:
    """A docstring as Markdown: its marks for code, its literal blocks, its parameters and errors."""
    text = inspect.cleandoc(docstring or "")
    text, *fields = _FIELDS.split(text, maxsplit=1)
    text = _ROLE.sub(r"`\1`", text).replace("``", "`")
    text = re.sub(r"::\n\n((?:    .*\n?|\n)+)", _literal, text)
    parts = _FIELD.split(" ".join(fields[0].split()))[1:] if fields else []
    return "\n\n".join([text.strip(), *([_fields(parts)] if parts else [])])


def _literal(match: re.Match[str]) -> str:
    return f":\n\n```python\n{textwrap.dedent(match[1]).strip()}\n```\n"


def _fields(parts: list[str]) -> str:
    """The list of what follows ``:param x:`` and ``:raises X:``."""
    words = {"param": "", "raises": "raises ", "ivar": ""}
    triples = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    told = ((words[kind], name, _ROLE.sub(r"`\1`", text).replace("``", "`")) for kind, name, text in triples)
    return "\n".join(f"- {word}`{name}`: {text.strip()}" for word, name, text in told)


def options() -> str:
    """Every option of pytest."""
    from pytest_k8s_netem.options import OPTIONS

    values = {
        "flag": "",
        "int": "a whole number",
        "count": "a whole number, 1 or more",
        "seconds": "seconds",
        "text": "",
    }
    head = ("option", "values", "default", "ini key", "environment", "what it does")
    return table(
        head,
        (
            (
                f"`{option.flag}`",
                code(option.choices) or values[option.kind],
                {False: "off", None: "drawn", "": "none"}.get(option.default, f"`{option.default}`"),
                f"`{option.dest}`",
                f"`{option.variable}`",
                option.help,
            )
            for option in OPTIONS
        ),
    )


def in_process_role() -> str:
    """The Role that impairing takes where nothing is installed."""
    text = (HERE.parent / "fixtures" / "rights" / "in-process.yaml").read_text(encoding="utf-8")
    return f"```yaml\n{text.strip()}\n```"


def vocabulary() -> str:
    """Every word for what happens to a packet."""
    from pytest_k8s_netem.profile.vocabulary import FIELDS

    head = ("word", "example", "what happens", "needs")
    rows = ((f"`{w}`", f"`{f.example}`", f.meaning, " or ".join(f"`{n}`" for n in f.needs)) for w, f in FIELDS.items())
    return table(head, rows)


def units() -> str:
    """Quantities and the units they are written in."""
    from pytest_k8s_netem.profile import units as known

    rows = (
        ("duration", code(known.DURATION_UNITS), f"0 to {known.format_duration(known.MAX_DURATION)}"),
        ("share", "`%`", "0 to 100 %"),
        ("rate, per second", code(known.RATE_UNITS), f"{known.MIN_RATE} bit to {known.format_rate(known.MAX_RATE)}"),
        ("size", code(known.SIZE_UNITS), f"at most {known.MAX_SIZE:,} bytes"),
        ("number of packets", "none", f"1 to {known.MAX_COUNT:,}"),
    )
    return table(("quantity", "units", "range"), rows)


def presets() -> str:
    """Every link that has a name."""
    from pytest_k8s_netem.profile.presets import PRESETS

    def words(side: object) -> str:
        return ", ".join(f"{word} {value}" for word, value in dict(side).items())  # type: ignore[call-overload]

    head = ("preset", "up: what the pods send", "down: what they get", "source")
    return table(head, ((f"`{n}`", words(p.up), words(p.down), p.source) for n, p in sorted(PRESETS.items())))


def objects() -> str:
    """Fields of ``spec`` that both dialects share."""
    from pytest_k8s_netem.profile.parse import NATIVE, UPSTREAM
    from pytest_k8s_netem.profile.spec import KEYS

    rows = (("both", code(KEYS)), ("ours", code(NATIVE)), ("k8s-netem's", code(UPSTREAM)))
    return table(("dialect", "fields of `spec`"), rows)


def builtin() -> str:
    """Every key of ``parameters.netem``."""
    from pytest_k8s_netem.profile import builtin as dialect

    words = {"seconds": "seconds", "ratio": "ratio, 0 to 1", "distribution": "name"}

    def unit(key: str) -> str:
        return "kbit/s" if key == "rate" else words.get(dialect.READERS[key].__name__, "whole number")

    return table(("key", "unit"), ((f"`{key}`", unit(key)) for key in dialect.READERS))


def flexe() -> str:
    """Every key of a segment of type Flexe."""
    from pytest_k8s_netem.profile import flexe as dialect

    words = {"_seconds": "seconds", "_milliseconds": "ms", "_percent": "percent", "_kilobits": "kbit/s"}
    rows = ((f"`{key}`", words.get(read.__name__, "name")) for key, read in dialect.READERS.items())
    return table(("key", "unit"), rows)


def fixtures() -> str:
    """Every public fixture, with its scope."""
    from pytest_k8s_netem import fixtures as face

    found = ((name, value) for name, value in vars(face).items() if name.startswith("netem"))
    return "\n\n".join(_fixture(name, value._fixture_function, value._fixture_function_marker) for name, value in found)


def _fixture(name: str, function: object, marker: FixtureFunctionMarker) -> str:
    """One fixture; pytest keeps what was decorated, and the decorator's arguments."""
    scope = marker.scope if isinstance(marker.scope, str) else "`--netem-namespace-scope`, by default function"
    return f"### {name}\n\nScope: {scope}.\n\n{markdown(function.__doc__)}"


HANDLES = (
    ("cluster.cluster", "Cluster"),
    ("cluster.cluster", "Applied"),
    ("cluster.pod", "Pod"),
    ("cluster.pod", "Process"),
    ("cluster.provider", "Completed"),
    ("cluster.handle", "NetemProfile"),
    ("cluster.chaos", "Netem"),
    ("cluster.attaching", "Attached"),
)
"""Modules and classes of the values that fixtures give."""


def handles() -> str:
    """What can be done with the values that fixtures give."""
    return "\n\n".join(_handle(getattr(_module(module), name)) for module, name in HANDLES)


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{PACKAGE}.{name}")


def _handle(cls: type) -> str:
    parts = [f"### {cls.__name__}", markdown(cls.__doc__)]
    for name, member in vars(cls).items():
        if not name.startswith("_") and name not in _INNER.get(cls.__name__, ()):
            if isinstance(member, property):
                parts.append(f"#### .{name}\n\n{markdown(member.__doc__)}")
            elif inspect.isfunction(member):
                parts.append(f"#### .{name}\n\n```text\n{_signature(name, member)}\n```\n\n{markdown(member.__doc__)}")
    return "\n\n".join(parts)


_INNER = {"Netem": ("make",), "NetemProfile": ("record",)}
"""Members that are public within the package only."""


def _signature(name: str, function: Callable[..., object]) -> str:
    signature = inspect.signature(inspect.unwrap(function))
    told, starred = [], False
    for part in signature.parameters.values():
        if part.kind is part.KEYWORD_ONLY and not starred:
            told.append("*")
            starred = True
        told += [] if part.name == "self" else [_parameter(part)]
    result = re.sub(r"Iterator\[(\w+)\]", r"context manager of \1", str(signature.return_annotation))
    return f"{name}({', '.join(told)}) -> {result}".replace("sockets.socket", "socket.socket")


def _parameter(part: inspect.Parameter) -> str:
    star = "**" if part.kind is part.VAR_KEYWORD else ""
    default = part.default
    shown = f"socket.{default.name}" if isinstance(default, enum.Enum) else repr(default)
    return f"{star}{part.name}: {part.annotation}" + ("" if default is part.empty else f" = {shown}")


def errors() -> str:
    """Every error that is raised on purpose."""
    from pytest_k8s_netem import errors as known

    found = [value for value in vars(known).values() if inspect.isclass(value) and issubclass(value, known.NetemError)]
    rows = ((f"`{cls.__name__}`", f"`{cls.__bases__[0].__name__}`", _first(cls.__doc__)) for cls in found)
    return table(("error", "is a", "what it says"), rows)


def _first(docstring: str | None) -> str:
    """Its first paragraph, in one line."""
    return " ".join(markdown(docstring).split("\n\n")[0].split())


def cli() -> str:
    """What ``netem --help`` says, and each command's help."""
    from pytest_k8s_netem.cli import COMMANDS
    from pytest_k8s_netem.cli import main as netem

    told = []
    for argv in (["--help"], *([command, "--help"] for command in COMMANDS)):
        written = io.StringIO()
        with _terminal(), contextlib.redirect_stdout(written), contextlib.suppress(SystemExit):
            netem(argv)
        told.append(f"```console\n$ netem {' '.join(argv)}\n{written.getvalue().strip()}\n```")
    return "\n\n".join(told)


@contextlib.contextmanager
def _terminal() -> Iterator[None]:
    """100 columns, no colours, whatever the real one has."""
    before = dict(os.environ)
    os.environ.update(COLUMNS="100", NO_COLOR="1", PYTHON_COLORS="0")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def rights() -> str:
    """Every right that an installation gives its controller, by where it holds."""
    from pytest_k8s_netem.kube.install import rights as given

    parts = (
        ("In all namespaces: nothing of this reaches into a pod", given.EVERYWHERE),
        ("In its own namespace", given.OWN),
        ("In namespaces that were enabled, by a RoleBinding there", given.OPTED_IN),
    )
    head = ("resources", "API group", "verbs", "only those named", "what for")
    told = []
    for title, several in parts:
        rows = [(code(r.resources), r.group or "core", ", ".join(r.verbs), code(r.names), r.why) for r in several]
        told.append(f"## {title}\n\n{table(head, rows)}")
    return "\n\n".join(told)


CONSTANTS = (
    ("cluster.imposition", "VERIFY_WITHIN", "s", "an impairment must be proven within, else the test is an error"),
    ("resolve.checks", "GRACE", "ns", "a probe waits for its answer, beyond the delay that is set"),
    ("resolve.checks", "SILENCE", "ns", "a probe listens where all is lost, beyond the delay that is set"),
    ("resolve.checks", "LONGEST", "ns", "a probe is waited for at most; what is slower is read back only"),
    ("resolve.checks", "SHARE", "share", "loss from which a probe looks at the share lost"),
    ("resolve.checks", "ALPHA", "chance", "false alarms of one bound of a probe"),
    ("judge.intervals", "ALPHA", "chance", "false alarms of `assert_loss`"),
    ("cluster.measuring", "TOLERANCE", "share", "`assert_rate` with one rate allows a difference of"),
    ("cluster.measuring", "FASTEST", "bit/s", "`assert_rate` measures at most"),
    ("cluster.measuring", "MEDIAN_OF", "", "round trips that `assert_rtt(median=)` measures for each pair"),
    ("cluster.measuring", "P99_OF", "", "round trips that `assert_rtt(p99=)` measures for each pair"),
    ("controller.evidence", "LATE", "s", "a pod that joins later may run unimpaired for"),
    (
        "controller.evidence",
        "LATE_BROUGHT",
        "s",
        "the same where an agent must come to it first: real clusters, containers",
    ),
    ("agent.drain", "LONGEST", "ns", "after filters are off, queued packets are delivered for at most"),
    ("cluster.imposition", "HEAL_WITHIN", "s", "a healing that takes longer is an error"),
    ("model.observed", "LATE", "ns", "a packet that the engine `userspace` sends after it was due is late beyond"),
    ("model.observed", "LATE_FEW", "", "late packets that never matter; more are an error above the next line's share"),
    ("model.observed", "LATE_SHARE", "share", "late packets, of those that passed, that do not matter"),
    ("controller.resting", "AFTER", "s", "a controller in a cluster lets go of a pod that nobody impairs after"),
    ("model.plan", "MAX_CLASSES", "", "sets of packets that one direction of an interface can tell apart"),
    ("local.podspec", "DEFAULT_GRACE", "s", "between SIGTERM and SIGKILL of a pod that does not say"),
    ("local.addresses", "MOST_NODES", "", "nodes of the embedded cluster"),
    ("local.addresses", "MOST_PODS", "", "pods on each of them"),
    ("guest.run", "BOOT_TIMEOUT", "s", "a guest's kernel must speak within"),
    ("guest.run", "SILENCE_TIMEOUT", "s", "a guest that gives no sign of life is ended after"),
)
"""Module, name and unit of what users may meet, and what it bounds."""


def constants() -> str:
    """Times and bounds."""
    rows = ((what, _valued(getattr(_module(module), name), unit)) for module, name, unit, what in CONSTANTS)
    return table(("what", "value"), rows)


def _valued(value: float, unit: str) -> str:
    if unit == "ns":
        return f"{value / 1e9:g} s" if value >= 1e9 else f"{value / 1e6:g} ms"
    words = {
        "share": f"{value:.0%}",
        "chance": f"1 in {1 / value:,.0f}",
        "s": f"{value:g} s",
        "bit/s": f"{value / 1e6:g} Mbit/s",
    }
    return words.get(unit, f"{value:,}")


PARTS: dict[str, Callable[[], str]] = {
    part.__name__: part
    for part in (
        options, vocabulary, units, presets, objects, builtin, flexe, fixtures, handles, errors, cli, constants,
        rights,
        in_process_role,
    )
}  # fmt: skip
"""What a page may ask for."""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
