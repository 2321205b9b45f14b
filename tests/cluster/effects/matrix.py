"""What each engine lacks, as docs/reference/engines.md says: the only reasons for which a test may be skipped."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "engines.md"
_ROW = re.compile(r"\| .*? \| `(?P<name>[^`]+)` \| (?P<userspace>[^|]+) \| (?P<kernel>[^|]+) \| (?P<older>[^|]+) \|")
YES = "yes"


def listed(engine: str, seeded: bool) -> dict[str, str]:
    """What an engine cannot do, or not wholly: by name, what the page says of it.

    :param seeded: whether the kernel is one whose netem takes a seed (Linux 6.6 and later).
    """
    column = "userspace" if engine == "userspace" else "kernel" if seeded else "older"
    rows = [match for line in PAGE.read_text().splitlines() if (match := _ROW.fullmatch(line))]
    return {row["name"]: said for row in rows if (said := row[column].strip()) != YES}
