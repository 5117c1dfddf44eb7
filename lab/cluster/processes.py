"""The processes of one cluster, found by the environment entry they carry, so that no stored number can be wrong."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

STOP_LIMIT_S = 20
KILL_LIMIT_S = 5


def end(marker: str) -> None:
    """End every process that carries *marker*: its supervisor ends them all, and is killed if it does not."""
    while _end_those_there(marker):  # one could have been just starting another
        pass


def _end_those_there(marker: str) -> bool:
    """Whether there were any."""
    with contextlib.ExitStack() as stack:
        handles = dict(_marked(marker, stack))
        supervisors = [handle for pid, handle in handles.items() if _is_first_in_namespace(pid)]
        for handle in supervisors:
            _signal(handle, signal.SIGTERM)
        if _ended(handles.values(), STOP_LIMIT_S if supervisors else 0):
            return bool(handles)
        for handle in handles.values():
            _signal(handle, signal.SIGKILL)
        if not _ended(handles.values(), KILL_LIMIT_S):
            raise TimeoutError(f"processes {sorted(handles)} are still there {KILL_LIMIT_S} s after SIGKILL")
        return True


def pids(marker: str) -> list[int]:
    """Process ids that carry *marker* now."""
    with contextlib.ExitStack() as stack:
        return sorted(pid for pid, _ in _marked(marker, stack))


def _marked(marker: str, stack: contextlib.ExitStack) -> Iterator[tuple[int, int]]:
    """Pairs of process id and a handle to just this process: a number used again later is never meant."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(int(entry.name))
            stack.callback(os.close, handle)
            if marker.encode() in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name), handle


def _is_first_in_namespace(pid: int) -> bool:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return len(line.split()) > 2 and line.split()[-1] == "1"
    return False


def _signal(handle: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)


def _ended(handles: Iterable[int], limit_s: float) -> bool:
    """Whether every process of *handles* ends within *limit_s*."""
    waiting = set(handles)
    deadline = time.monotonic() + limit_s
    while waiting:
        over, _, _ = select.select(list(waiting), [], [], max(0.0, deadline - time.monotonic()))
        if not over:
            return False
        waiting -= set(over)
    return True
