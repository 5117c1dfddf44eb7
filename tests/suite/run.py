"""One run: lanes as processes, two at a time, what each said and left, and nothing of them afterwards."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
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
SILENT_LIMIT_S = 2100  # a lane says each test's name: longer than the longest test may take (pyproject.toml)
FAILING = re.compile(r"^(\S+::.+?) (?:FAILED|ERROR)\b", re.MULTILINE)
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


@dataclass
class Running:
    """A lane under way; its *folder* has its log, its junit file and its temporary files."""

    lane: Lane
    process: subprocess.Popen[bytes]
    marker: str
    folder: Path
    began: float = field(default_factory=time.monotonic)
    spoke: float = field(default_factory=time.monotonic)
    read_bytes: int = 0

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def listen(self) -> None:
        """Say which tests have failed since the last look."""
        with self.log.open("rb") as log:
            log.seek(self.read_bytes)
            whole, end, _ = log.read().rpartition(b"\n")
        if whole:
            self.spoke = time.monotonic()
        self.read_bytes += len(whole + end)
        for test in FAILING.findall(whole.decode(errors="replace")):
            say(f"{self.lane.name}: FAILED {test}")

    def left(self) -> tuple[str, ...]:
        """What it left running, and in its temporary files beside pytest's own."""
        files = [f"file {path.name}" for path in (self.folder / "t").iterdir() if path.name != "p"]
        return (*machine.still_running(self.marker, self.process.pid), *files)


class Run:
    """
    The *lanes*, of which those that hold something wait until one of its *places* is free.

    Args:
        expected: seconds of each lane; the longest starts first.
        records: where logs, junit files, durations and what failed lanes leave go.
        claimed: the right to the machine; without it no lane may hold anything.
        slowest: say of each lane which tests took longest.
    """

    def __init__(
        self,
        lanes: list[Lane],
        places: dict[str, int],
        expected: dict[str, float],
        records: Path,
        *,
        claimed: socket.socket | None,
        slowest: bool,
    ) -> None:
        self._waiting = sorted(lanes, key=lambda lane: -expected[lane.name])
        self._places = places
        self._expected = expected
        self._records = records
        self._claimed = claimed
        self._slowest = slowest
        self._running: list[Running] = []
        self._results: list[Result] = []
        self._left: list[str] = []
        self._stopped = False
        self._temporary = machine.temporary()
        self._traces = machine.traces() if claimed else set()

    def all(self) -> int:
        """Run every lane; 0, 1 if any failed or left something, 130 when stopped."""
        before = {number: signal.signal(number, self._stop) for number in ENDING}
        began = time.monotonic()
        try:
            while (self._waiting or self._running) and not self._stopped:
                self._start_what_can()
                time.sleep(LOOK_EVERY_S)
                self._look()
        finally:
            self._end_all()
            shutil.rmtree(self._temporary, ignore_errors=True)
            for number, handler in before.items():
                signal.signal(number, handler)
        return 130 if self._stopped else self._conclude(time.monotonic() - began)

    def _stop(self, *_: object) -> None:
        # Looked at between two lanes' beginnings and ends, so that none is half begun or half cleared.
        self._stopped = True

    def _start_what_can(self) -> None:
        for lane in list(self._waiting):
            held = [place for running in self._running for place in running.lane.holds]
            free = all(held.count(place) + lane.holds.count(place) <= self._places[place] for place in lane.holds)
            if len(self._running) < WORKERS and free:
                self._waiting.remove(lane)
                self._running.append(self._start(lane))

    def _start(self, lane: Lane) -> Running:
        say(f"{lane.name}: begins, about {self._expected[lane.name]:.0f} s; starts {lane.starts}")
        folder = self._temporary / lane.name
        (folder / "t").mkdir(parents=True)
        command = [sys.executable, "-m", "pytest", "-v", "--durations=15", f"--lane={lane.name}"]
        command += [f"--junitxml={folder / 'junit.xml'}", f"--basetemp={folder / 't/p'}", *lane.paths]
        name, value = "QWENKIT_LANE", f"{lane.name} {os.getpid()}"
        own = {name: value, "TMPDIR": str(folder / "t")}
        own["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")  # PyTorch makes it wherever it is imported
        with (folder / "log").open("wb") as out:
            process = subprocess.Popen(
                # Whatever ends this process, its lanes are told to stop, and have the machine until they have.
                ["setpriv", "--pdeathsig", "INT", *command],
                cwd=ROOT,
                env={**os.environ, **own},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C is for this process, which then stops the lanes
                pass_fds=[self._claimed.fileno()] if self._claimed else [],
            )
        return Running(lane, process, f"{name}={value}", folder)

    def _look(self) -> None:
        for running in list(self._running):
            over = running.process.poll() is not None
            running.listen()
            if over:
                self._running.remove(running)
                self._end(running)
            elif time.monotonic() - running.spoke > SILENT_LIMIT_S:
                say(f"{running.lane.name}: has said nothing for {SILENT_LIMIT_S} s and is ended")
                running.process.kill()

    def _end(self, running: Running) -> None:
        name, seconds = running.lane.name, time.monotonic() - running.began
        left = running.left()
        machine.end_processes(running.marker, running.process.pid)
        result = read(name, running.process.returncode, running.folder / "junit.xml", seconds, left)
        self._results.append(result)
        say(f"{name}: {result}")
        for file, kept in (("log", f"{name}.log"), ("junit.xml", f"{name}.xml")):
            if (running.folder / file).exists():
                shutil.move(running.folder / file, self._records / kept)
        if self._slowest:
            print(slowest(self._records / f"{name}.log"), flush=True)
        if result.green:
            remember(self._records, {name: seconds})
        else:
            print(failures(self._records / f"{name}.log"), flush=True)
            say(f"{name}: its files are in {self._keep(running)}")
        shutil.rmtree(running.folder, ignore_errors=True)
        self._tidy()

    def _keep(self, running: Running) -> Path:
        """A failed lane's temporary files, where the next run of the lane leaves them."""
        kept = self._records / f"{running.lane.name}.files"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.move(running.folder / "t", kept)
        return kept

    def _tidy(self) -> None:
        """Where no other lane could still need them, tell of clusters and hosts that are left, and remove them."""
        if not self._claimed or any(running.lane.holds for running in self._running):
            return
        if left := machine.traces() - self._traces:
            self._left += sorted(left)
            say(f"left behind: {'; '.join(sorted(left))}")
            machine.clear(left)

    def _end_all(self) -> None:
        """Stop every lane that still runs as Ctrl-C would, and what does not stop by itself."""
        if not self._running:
            return
        say(f"stopping {', '.join(running.lane.name for running in self._running)}")
        for running in self._running:
            running.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + TIDY_LIMIT_S
        while self._running:
            running = self._running.pop()
            try:
                running.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()
            machine.end_processes(running.marker, running.process.pid)
        self._tidy()
        say(f"stopped; left behind: {'; '.join(self._left) or 'nothing'}")

    def _conclude(self, seconds: float) -> int:
        print(f"\n{'lane':18}{'passed':>7}{'failed':>7}{'skipped':>8}{'repeated':>9}{'seconds':>8}{'before':>7}")
        for one in sorted(self._results, key=lambda one: -one.seconds):
            counts = f"{one.passed:7}{one.failed:7}{one.skipped:8}{one.repeated:9}"
            print(f"{one.lane:18}{counts}{one.seconds:8.0f}{self._expected[one.lane]:7.0f}")
        print(f"all in {seconds / 60:.1f} min; left behind: {'; '.join(self._left) or 'nothing'}")
        total = [sum(getattr(one, kind) for one in self._results) for kind in ("passed", "failed", "skipped")]
        print("{} passed, {} failed, {} skipped".format(*total), flush=True)
        return 0 if not self._left and all(one.green for one in self._results) else 1
