"""A limit is seconds of an idle machine, and moves with how slow the machine is found to be."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import waiting
from tests.children import child
from tests.waiting import patience, slowness, wait_for_input, wait_until

ROOT = Path(__file__).parents[1]
SPIN = "print('spins', flush=True)\nwhile True: pass"


class Clock:
    """A time that passes only while somebody sleeps or works."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(waiting, "time", made)
    return made


def slow(monkeypatch: pytest.MonkeyPatch, *times: float) -> None:
    """The machine is found so much slower at each reached limit, the last for ever."""
    found = list(times)
    monkeypatch.setattr(waiting, "slowness", lambda: found.pop(0) if len(found) > 1 else found[0])


def test_an_idle_machine_fails_at_the_limit_and_says_what_was_waited_for(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(monkeypatch, 1.0)
    with pytest.raises(AssertionError, match=r"^not within 10 s \(10\.0 s were waited, .* 1\.0 times .*\): the end$"):
        wait_until(lambda: False, 10, "the end", every_s=0.5)
    assert clock.now == 110.0


def test_a_busy_machine_gets_as_much_more_time_as_it_is_slower(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, 3.0)
    wait_until(lambda: clock.now >= 129, 10, "late", every_s=1)
    with pytest.raises(AssertionError, match=r"30\.0 s were waited, this machine is 3\.0 times slower"):
        wait_until(lambda: False, 10, "never", every_s=1)


def test_a_machine_that_becomes_busier_meanwhile_gets_still_more(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, 2.0, 5.0, 1.0)
    began = clock.now
    with pytest.raises(AssertionError, match="never"):
        wait_until(lambda: False, 10, "never", every_s=1)
    assert clock.now - began == 50


def test_a_look_that_began_in_time_and_ended_late_is_followed_by_another(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(monkeypatch, 1.0)
    looks = []

    def asleep() -> bool:
        looks.append(clock.now)
        clock.now += 60
        return len(looks) > 1

    wait_until(asleep, 10, "it is seen")
    assert len(looks) == 2


def test_what_is_expensive_to_look_at_is_looked_at_less_often(clock: Clock) -> None:
    looks = []

    def expensive() -> bool:
        looks.append(clock.now)
        clock.now += 2
        return len(looks) == 3

    wait_until(expensive, 100, "it holds", every_s=0.5)
    assert [looks[1] - looks[0], looks[2] - looks[1]] == [4, 4]


def test_the_text_is_asked_for_at_the_end_only(monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, 1.0)
    wait_until(lambda: True, 0, lambda: pytest.fail("nobody asked"))
    with pytest.raises(AssertionError, match="its log"):
        wait_until(lambda: False, 0, lambda: "its log")


@pytest.fixture
def crowd() -> Iterator[int]:
    """A processor of this machine with three processes that have it busy."""
    processor = min(os.sched_getaffinity(0))
    with ExitStack() as started:
        for _ in range(3):
            spinning = started.enter_context(child([sys.executable, "-c", SPIN]))
            os.sched_setaffinity(spinning.process.pid, {processor})
            spinning.line(60)
        yield processor


def test_a_crowded_processor_is_found_slow(crowd: int) -> None:
    ask = f"import os; os.sched_setaffinity(0, {{{crowd}}}); from tests.waiting import slowness; print(slowness())"
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 2 < float(done.stdout) <= 8  # one of four


def test_nothing_is_faster_than_alone_and_nothing_is_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= slowness() <= 8
    monkeypatch.setattr(os, "getloadavg", lambda: (1000.0, 0.0, 0.0))
    assert slowness() == 8
    assert patience(10) == 80


def test_a_silent_child_does_not_hold_a_test_up(monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, 1.0)
    with subprocess.Popen(["sleep", "600"], stdout=subprocess.PIPE) as silent:
        assert silent.stdout is not None
        began = time.monotonic()
        with pytest.raises(AssertionError, match="it speaks"):
            wait_for_input(silent.stdout.fileno(), 0.1, "it speaks")
        assert time.monotonic() - began < 300
        silent.kill()
