"""
Waiting for a condition, with limits that are seconds of a machine that does nothing else.

A busy machine gets more time, as much as it is found to be slower when a limit is reached; an idle one fails promptly.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

MOST_SLOWNESS = 8.0
MOST_WAIT_S = 1500.0  # less than a whole test may take (pyproject.toml), so that a wait that fails says so itself
SAMPLES, STEPS = 5, 200_000  # some 10 ms each: longer than a scheduler lets a process that has slept go first

Told = str | Callable[[], str]


def wait_until(condition: Callable[[], object], limit_s: float, what: Told, every_s: float = 0.1) -> None:
    """
    Return once *condition* holds.

    Args:
        limit_s: seconds, on an idle machine, after which it must hold.
        what: what is waited for, in the message of the AssertionError; a function is asked for it only then.
        every_s: pause between two looks; at least as long as the last look took, which may be work for this machine.
    """
    limit = Limit(limit_s, what)
    while True:
        looked = time.monotonic()
        if limit.allows(condition):
            return
        time.sleep(max(every_s, time.monotonic() - looked))


def patience(limit_s: float) -> float:
    """*limit_s* on the machine as it is now, for a limit that is given to a subprocess or a client."""
    return limit_s * slowness()


def wait_for_input(descriptor: int, limit_s: float, what: Told) -> None:
    """Return once something can be read from *descriptor*, also its end."""
    limit = Limit(limit_s, what)
    while not limit.allows(lambda: select.select([descriptor], [], [], 0.5)[0]):
        pass  # the look itself waits


class Limit:
    """A wait's end, for who must pause in another way than `wait_until`."""

    def __init__(self, limit_s: float, what: Told) -> None:
        self._limit_s, self._what = limit_s, what
        self._began = time.monotonic()
        self._slowness = 1.0

    def allows(self, condition: Callable[[], object]) -> bool:
        """Whether *condition* holds; AssertionError if it does not though it was looked at after the limit."""
        # Taken before the look: one that began in time may end late.
        waited_s = time.monotonic() - self._began
        if condition():
            return True
        if waited_s >= self._allowed_s():
            self._slowness = max(self._slowness, slowness())
            if waited_s >= self._allowed_s():
                raise AssertionError(self._complaint(waited_s))
        return False

    def _allowed_s(self) -> float:
        return min(self._limit_s * self._slowness, max(self._limit_s, MOST_WAIT_S))

    def _complaint(self, waited_s: float) -> str:
        what = self._what if isinstance(self._what, str) else self._what()
        measured = f"this machine is {self._slowness:.1f} times slower than alone"
        return f"not within {self._limit_s:g} s ({waited_s:.1f} s were waited, {measured}): {what}"


def slowness() -> float:
    """How many times longer work takes on this machine, now and in the last minute, than on an idle one: 1 to 8."""
    queued = os.getloadavg()[0] / (os.cpu_count() or 1)
    return min(MOST_SLOWNESS, max(1.0, queued, *(_wall_over_cpu() for _ in range(SAMPLES))))


def _wall_over_cpu() -> float:
    wall, cpu = time.perf_counter(), time.thread_time()
    total = 0
    for number in range(STEPS):  # not sum(): a loop also waits for other threads of this process
        total += number
    return (time.perf_counter() - wall) / max(time.thread_time() - cpu, 1e-6)
