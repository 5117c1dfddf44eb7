"""Running one long command: its words go to a log, how long it has been going goes to the terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

TERMINAL_EVERY_S = 1.0
PLAIN_EVERY_S = 15.0


def spoken(seconds: float) -> str:
    """``42 s`` or ``3 min 20 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Clock:
    """The line that says how far one build is: rewritten in place on a terminal, else a plain line now and then."""

    def __init__(self, what: str, about_s: float) -> None:
        self.what, self.about_s = what, about_s
        self.terminal = sys.stderr.isatty()
        self.started = self.said = time.monotonic()
        say(f"{what}: about {spoken(about_s)}")

    def tick(self, doing: str) -> None:
        now = time.monotonic()
        if now - self.said < (TERMINAL_EVERY_S if self.terminal else PLAIN_EVERY_S):
            return
        self.said = now
        line = f"{self.what}: {doing}, {spoken(now - self.started)} of about {spoken(self.about_s)}"
        if self.terminal:
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        else:
            say(line)

    def done(self, how: str) -> float:
        """Close the line; returns the seconds that it took."""
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr)
        seconds = time.monotonic() - self.started
        say(f"{self.what}: {how} after {spoken(seconds)}")
        return seconds


def run(doing: str, command: list[str | Path], clock: Clock, log: Path, env: Mapping[str, str], cwd: Path) -> bool:
    """Run *command* to its end, its output appended to *log*; whether it succeeded. Interrupted, it takes it along."""
    with log.open("ab") as output:
        output.write(f"$ {' '.join(map(str, command))}\n".encode())
        output.flush()
        # A process group of its own, so that an interrupt ends the compilers it started too.
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
        )
        try:
            while True:
                try:
                    return process.wait(timeout=0.2) == 0
                except subprocess.TimeoutExpired:
                    clock.tick(doing)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def last_words(log: Path) -> str:
    """The last line of *log* that says something, cut to one screen line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "nothing was said"
