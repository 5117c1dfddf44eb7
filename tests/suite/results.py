"""What one lane came to, by its junit file and its exit status."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.conclusive import PROPERTY

SHOWN_LINES = 400


@dataclass(frozen=True)
class Result:
    """
    Tests of a lane by how they ended, its seconds, what it left on the machine, and how many experiments were repeated
    (tests/conclusive.py). A lane that died without a word of its own, or ran no test, has one failure.
    """

    lane: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    left: tuple[str, ...]
    repeated: int = 0

    @property
    def green(self) -> bool:
        return not self.failed and not self.left

    def __str__(self) -> str:
        counts = f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"
        return f"{counts} in {self.seconds:.0f} s; left behind: {'; '.join(self.left) or 'nothing'}"


def read(lane: str, status: int, junit: Path, seconds: float, left: tuple[str, ...]) -> Result:
    """The result of *lane*, whose pytest ended with *status* after writing *junit*, or before it had."""
    try:
        root = ElementTree.parse(junit).getroot()
        [suite] = root.iter("testsuite")
    except (OSError, ElementTree.ParseError, ValueError):
        return Result(lane, 0, 1, 0, seconds, left)
    tests, failed, errors, skipped = (int(suite.attrib[kind]) for kind in ("tests", "failures", "errors", "skipped"))
    failed += errors
    if status and not failed:
        failed = 1
    repeated = sum(given.attrib["name"] == PROPERTY for given in root.iter("property"))
    return Result(lane, max(tests - failed - skipped, 0), failed, skipped, seconds, left, repeated)


def slowest(log: Path) -> str:
    """The tests that took longest, by *log*."""
    said = re.search(
        r"^=+ slowest \d+ durations =+\n(.*?)^(?:=|\(|$)", log.read_text(errors="replace"), re.MULTILINE | re.DOTALL
    )
    return said[1].rstrip() if said else ""


def failures(log: Path) -> str:
    """What *log* says of failures; its end if it says nothing of the kind."""
    text = log.read_text(errors="replace")
    said = re.search(r"^=+ (?:ERRORS|FAILURES) =+$", text, re.MULTILINE)
    lines = text[said.start() if said else 0 :].splitlines()
    cut = lines if len(lines) <= SHOWN_LINES else [*lines[: SHOWN_LINES // 2], "[...]", *lines[-SHOWN_LINES // 2 :]]
    return "\n".join(cut if said else lines[-SHOWN_LINES // 4 :])
