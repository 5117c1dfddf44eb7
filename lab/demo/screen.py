"""What the demo prints: steps, what is real, commands with their output, and signs of life."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, RenderableType
from rich.markup import escape

ENDING_LIMIT_S = 10  # for a command that was interrupted: Pulumi gives its lock back first
SIGN_OF_LIFE_S = 5  # between two lines where the output is no terminal


class Screen:
    """Everything goes through one console, so that a spinner and a line never overlap."""

    def __init__(self) -> None:
        probe = Console()
        self._console = probe if probe.is_terminal else Console(width=140)
        self._began = time.monotonic()

    def step(self, number: int, title: str) -> None:
        """A heading with the time since the start."""
        at = time.monotonic() - self._began
        self._console.rule(f"[bold]{number} of 5  {escape(title)}[/bold] ({at:.0f} s)", align="left")

    def say(self, text: str) -> None:
        """A plain line."""
        self._console.print(escape(text), highlight=False)

    def real(self, text: str) -> None:
        """What of this step is the real thing."""
        self._console.print(f"[green]real[/green]       {escape(text)}", highlight=False)

    def stands_in(self, text: str) -> None:
        """What of this step stands in for something that cannot be had here."""
        self._console.print(f"[yellow]stands in[/yellow]  {escape(text)}", highlight=False)

    def show(self, what: RenderableType) -> None:
        """A table or the like."""
        self._console.print(what)

    def stream(self, text: str) -> None:
        """A piece of a line, at once."""
        self._console.print(text, end="", markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def working(self, doing: str) -> Iterator[None]:
        """Show that *doing* goes on, and afterwards how long it took."""
        began = time.monotonic()
        if self._console.is_terminal:
            with self._console.status(doing):
                yield
        else:
            with self._signs_of_life(doing, began):
                yield
        self.say(f"{doing}: {time.monotonic() - began:.1f} s")

    @contextmanager
    def _signs_of_life(self, doing: str, began: float) -> Iterator[None]:
        over = threading.Event()

        def tell() -> None:
            while not over.wait(SIGN_OF_LIFE_S):
                self.say(f"  {doing}, {time.monotonic() - began:.0f} s so far")

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            yield
        finally:
            over.set()
            teller.join()

    def run(
        self, command: list[str], shown: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        """Run *command* with its output on the screen. Raises ``CalledProcessError`` when it fails."""
        self._console.print(f"[bold]$ {escape(shown)}[/bold]", highlight=False)
        with subprocess.Popen(
            command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as running:
            assert running.stdout is not None
            try:
                for line in running.stdout:
                    self._console.print(line.rstrip("\n"), markup=False, highlight=False, no_wrap=True, crop=False)
            except BaseException:
                _end(running)
                raise
        if running.returncode:
            raise subprocess.CalledProcessError(running.returncode, shown)


def _end(process: subprocess.Popen[str]) -> None:
    """Ask *process* to end and wait until it has, so that what it works on is not taken away under it."""
    # Ctrl-C has reached it as well, and a second signal would make Pulumi drop everything: only then the harder ways.
    for harder in (process.terminate, process.kill):
        try:
            process.wait(timeout=ENDING_LIMIT_S)
            return
        except subprocess.TimeoutExpired:
            harder()
