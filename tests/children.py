"""Processes that tests start: what they say is in a file, so nobody waits at a pipe, and every wait has a limit."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.waiting import Told, wait_until

Process = subprocess.Popen[bytes] | subprocess.Popen[str]
END_LIMIT_S = 60
LAST_WORDS = 3000


@dataclass(frozen=True)
class Child:
    """A running process, and the file that takes what it says."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        """Everything so far."""
        return self.log.read_text(errors="replace")

    def wait_to_say(self, text: str, limit_s: float) -> None:
        """Return once *text* is among what it has said; AssertionError also if it ends without."""
        wait_until(
            lambda: text in self.said or self.process.poll() is not None,
            limit_s,
            lambda: self._without(text),
            every_s=0.02,
        )
        assert text in self.said, f"it ended with {self.process.returncode}: {self._without(text)}"

    def line(self, limit_s: float) -> str:
        """The first line it says."""
        self.wait_to_say("\n", limit_s)
        return self.said.partition("\n")[0]

    def exit_code(self, limit_s: float) -> int:
        """How it ended, which it does within *limit_s*."""
        return exit_code(self.process, limit_s, lambda: self._without("the end"))

    def _without(self, wanted: str) -> str:
        return f"{self.process.args!r} has not come to {wanted!r}; it said: {self.said[-LAST_WORDS:]}"


@contextmanager
def child(command: Sequence[str | os.PathLike[str]], **how: Any) -> Iterator[Child]:
    """*command* while the block runs; killed at its end. *how* is for Popen; stderr goes where the output goes."""
    with tempfile.NamedTemporaryFile(prefix="child-") as log:
        process = subprocess.Popen(command, **{"stdout": log, "stderr": log, **how})
        try:
            yield Child(process, Path(log.name))
        finally:
            process.kill()
            exit_code(process, END_LIMIT_S)


def exit_code(process: Process, limit_s: float, what: Told = "it ends") -> int:
    """How *process* ended, which it does within *limit_s*."""
    wait_until(lambda: process.poll() is not None, limit_s, what, every_s=0.02)
    code: int = process.returncode
    return code


def end(process: Process, limit_s: float = END_LIMIT_S) -> int:
    """How *process* ended after a SIGTERM; killed, and an AssertionError, if that takes longer than *limit_s*."""
    process.terminate()
    try:
        return exit_code(process, limit_s, f"{process.args!r} ends after SIGTERM")
    finally:
        process.kill()
