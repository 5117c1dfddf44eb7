"""
Time taken, with what this machine gives at that moment beside it.

On a machine that others use, seconds say as much about the others as about the code. So every figure is CPU time as
well as wall time, the best of several runs, and each run stands between two runs of one fixed loop: figure / loop
compares across days and machines.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_LOOP_TEXT = json.dumps([{"name": str(number), "values": [number / 7] * 8} for number in range(400)])


@dataclass(frozen=True, slots=True)
class Taken:
    """One run: seconds of wall and CPU time, seconds of CPU that the fixed loop took around it, peak memory."""

    wall_s: float
    cpu_s: float
    loop_s: float
    peak_mb: float | None = None

    @property
    def loops(self) -> float:
        """CPU time in units of the fixed loop: what compares with a recorded figure."""
        return self.cpu_s / self.loop_s


def loop_s() -> float:
    """CPU seconds of a fixed piece of work: parsing and float arithmetic in plain Python."""
    start = time.process_time()
    total = 0.0
    for _ in range(6):
        for entry in json.loads(_LOOP_TEXT):
            for value in entry["values"]:
                total = (total**3 + value**3) ** (1 / 3)
    return time.process_time() - start


def best(measure: Callable[[], Taken], runs: int) -> Taken:
    """The run of *runs* that took the least CPU for what the machine gave."""
    return min((measure() for _ in range(runs)), key=lambda taken: taken.loops)


def in_child(work: Callable[[], object]) -> Taken:
    """*work* in a forked child: imports and facts are there, nothing that an earlier run left in a cache is."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def timed() -> None:
        before = loop_s()
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        took = time.perf_counter() - wall, time.process_time() - cpu
        send.send(Taken(*took, (before + loop_s()) / 2))

    child = context.Process(target=timed)
    child.start()
    send.close()
    try:
        taken: Taken = receive.recv()
    finally:
        child.join()
    return taken


def of_command(command: Sequence[str], stdin: bytes = b"") -> Taken:
    """*command* as a process, from its start to its end. Raises ``CalledProcessError`` where it fails."""
    before = loop_s()
    start = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(stdin)
    process.stdin.close()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Taken(wall, used.ru_utime + used.ru_stime, (before + loop_s()) / 2, used.ru_maxrss / 1024)
