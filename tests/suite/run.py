"""One run: lanes as processes, two at a time, what each said and left, and nothing of them afterwards."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.suite import machine
from tests.suite.lanes import Lane, remember
from tests.suite.results import Result, failures, read, slowest

ROOT = Path(__file__).parents[2]
WORKERS = 2
LOOK_EVERY_S = 0.5
TIDY_LIMIT_S = 180  # for an interrupted lane to take down what it has started
FAILING = re.compile(r"^(\S+::.+?) (?:FAILED|ERROR)\b", re.MULTILINE)


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


@dataclass
class Running:
    """A lane under way."""

    lane: Lane
    process: subprocess.Popen[bytes]
    marker: str
    folder: Path
    log: Path
    before: set[str]
    began: float = field(default_factory=time.monotonic)
    read_bytes: int = 0

    def tell_failures(self) -> None:
        """Say which tests have failed since the last look."""
        with self.log.open("rb") as log:
            log.seek(self.read_bytes)
            whole, end, _ = log.read().rpartition(b"\n")
        self.read_bytes += len(whole + end)
        for test in FAILING.findall(whole.decode(errors="replace")):
            say(f"{self.lane.name}: FAILED {test}")


class Run:
    """
    The *lanes*, of which those that hold something wait until one of its *places* is free.

    Args:
        expected: seconds of each lane; the longest starts first.
        folder: where logs, junit files and durations go.
        slowest: say of each lane which tests took longest.
    """

    def __init__(
        self, lanes: list[Lane], places: dict[str, int], expected: dict[str, float], folder: Path, *, slowest: bool
    ) -> None:
        self._waiting = sorted(lanes, key=lambda lane: -expected[lane.name])
        self._places = places
        self._expected = expected
        self._records = folder
        self._slowest = slowest
        self._running: list[Running] = []
        self._results: list[Result] = []
        machine.sweep_temporary()
        self._temporary = Path(tempfile.mkdtemp(prefix=f"{machine.TEMPORARY}{os.getpid()}-"))
        self._traces = machine.traces()

    def all(self) -> int:
        """Run every lane; 0, or 1 if any failed or left something."""
        began = time.monotonic()
        try:
            while self._waiting or self._running:
                self._start_what_can()
                time.sleep(LOOK_EVERY_S)
                for running in list(self._running):
                    running.tell_failures()
                    if running.process.poll() is not None:
                        self._end(running)
        except KeyboardInterrupt:
            self._interrupt()
            raise
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)
        return self._conclude(time.monotonic() - began)

    def _start_what_can(self) -> None:
        for lane in list(self._waiting):
            held = [place for running in self._running for place in running.lane.holds]
            free = all(held.count(place) + lane.holds.count(place) <= self._places[place] for place in lane.holds)
            if len(self._running) < WORKERS and free:
                self._waiting.remove(lane)
                self._running.append(self._start(lane))

    def _start(self, lane: Lane) -> Running:
        say(f"{lane.name}: begins, about {self._expected[lane.name]:.0f} s; starts {lane.starts}")
        temporary = self._temporary / lane.name
        temporary.mkdir()
        log, junit = (self._records / f"{lane.name}.{kind}" for kind in ("log", "xml"))
        junit.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-v", "--durations=15", f"--lane={lane.name}", f"--junitxml={junit}"]
        name, value = "QWENKIT_LANE", f"{lane.name} {os.getpid()}"
        with log.open("wb") as out:
            process = subprocess.Popen(
                # Whatever ends this process, its lanes are told to stop.
                ["setpriv", "--pdeathsig", "INT", *command, *lane.paths],
                cwd=ROOT,
                env={**os.environ, name: value, "TMPDIR": str(temporary)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C is for this process, which then stops the lanes
            )
        return Running(lane, process, f"{name}={value}", temporary, log, machine.traces())

    def _end(self, running: Running) -> None:
        self._running.remove(running)
        lane, seconds = running.lane, time.monotonic() - running.began
        left = machine.still_running(running.marker)
        machine.clear(running.marker, self._traces)
        left += machine.left_in(running.folder)
        if not self._running:  # else they are the other lane's
            left += sorted(machine.traces() - running.before - self._traces)
        result = read(lane.name, running.process.returncode, self._records / f"{lane.name}.xml", seconds, tuple(left))
        self._results.append(result)
        say(f"{lane.name}: {result}")
        if self._slowest:
            print(slowest(running.log), flush=True)
        if result.green:
            remember(self._records, {lane.name: seconds})
        else:
            print(failures(running.log), flush=True)

    def _interrupt(self) -> None:
        """Stop every lane as Ctrl-C would, and what does not stop without asking; nothing of them stays."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C would leave half
        say(f"stopping {', '.join(running.lane.name for running in self._running)}")
        for running in self._running:
            running.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + TIDY_LIMIT_S
        for running in self._running:
            try:
                running.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()
            machine.clear(running.marker, self._traces)
        left = machine.traces() - self._traces
        say(f"stopped; left behind: {', '.join(sorted(left)) or 'nothing'}")

    def _conclude(self, seconds: float) -> int:
        left = sorted(machine.traces() - self._traces)
        print(f"\n{'lane':18}{'passed':>7}{'failed':>7}{'skipped':>8}{'repeated':>9}{'seconds':>8}{'before':>7}")
        for one in sorted(self._results, key=lambda one: -one.seconds):
            counts = f"{one.passed:7}{one.failed:7}{one.skipped:8}{one.repeated:9}"
            print(f"{one.lane:18}{counts}{one.seconds:8.0f}{self._expected[one.lane]:7.0f}")
        print(f"all in {seconds / 60:.1f} min; left behind: {', '.join(left) or 'nothing'}")
        total = [sum(getattr(one, kind) for one in self._results) for kind in ("passed", "failed", "skipped")]
        print("{} passed, {} failed, {} skipped".format(*total), flush=True)
        return 0 if not left and all(one.green for one in self._results) else 1
