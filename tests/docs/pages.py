"""The commands that the pages print. A lane that runs one reads it here, so that what is run is what is printed."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "ansible/README.md",
    ROOT / "helm/qwen/README.md",
]


def commands() -> list[str]:
    """The lines of every ``sh`` block, continuation lines joined, comments left out."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            joined = block.replace("\\\n", " ")
            found += [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return found


def documented(start: str) -> str:
    """The one command that begins with *start*; it may be printed more than once, but not in two ways."""
    found = {command for command in commands() if command.startswith(start)}
    assert len(found) == 1, f"the pages print {sorted(found) or 'nothing'} for {start!r}"
    return found.pop()
