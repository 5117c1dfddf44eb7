"""Whatever a child does, the test that started it goes on."""

from __future__ import annotations

import sys

import pytest

from tests import waiting
from tests.children import child, end, exit_code

STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any load: what is to fail here fails at once."""
    monkeypatch.setattr(waiting, "slowness", lambda: 1.0)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_it_is_waited_for_until_it_has_said_something() -> None:
    with child(python("import time; print('one\\ntwo', flush=True); time.sleep(600)")) as running:
        running.wait_to_say("two", 60)
        assert running.line(60) == "one"
        assert running.process.poll() is None
    assert running.process.returncode == -9


def test_what_it_said_and_how_it_ended_are_kept() -> None:
    with child(python("import sys; print('out'); sys.stdout.flush(); sys.exit('complaint')")) as running:
        assert running.exit_code(60) == 1
        assert running.said == "out\ncomplaint\n"


@pytest.mark.usefixtures("idle")
def test_a_silent_one_is_named_and_does_not_hold_the_test_up() -> None:
    with (
        child(["sleep", "600"]) as silent,
        pytest.raises(AssertionError, match=r"not within 0\.1 s .*'sleep', '600'.*'ready'"),
    ):
        silent.wait_to_say("ready", 0.1)


def test_one_that_ends_without_the_word_is_told_with_its_last_ones() -> None:
    with (
        child(python("import sys; sys.exit('no leader here')")) as ending,
        pytest.raises(AssertionError, match=r"ended with 1: .*no leader here"),
    ):
        ending.wait_to_say("ready", 600)


@pytest.mark.usefixtures("idle")
def test_a_process_that_ignores_sigterm_is_killed_and_named() -> None:
    with child(python(STUBBORN)) as deaf:
        deaf.wait_to_say("deaf", 600)
        with pytest.raises(AssertionError, match=r"SIG_IGN.* ends after SIGTERM"):
            end(deaf.process, 0.1)
        assert exit_code(deaf.process, 60) == -9


def test_a_test_that_fails_leaves_no_child() -> None:
    with pytest.raises(LookupError), child(["sleep", "600"]) as running:
        raise LookupError
    assert running.process.returncode == -9
