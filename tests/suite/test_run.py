"""The suite's own run, in a small checkout whose lanes fail, hang, leave things behind and are interrupted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.suite import machine
from tests.waiting import patience, wait_until

ROOT = Path(__file__).parents[2]
LIMIT_S = 120
LANE = '[lane.{0}]\nabout_s = 1\nstarts = "nothing"\npaths = ["tests/test_{0}.py"]\n'
LAST = '[lane.last]\nabout_s = 1\nstarts = "nothing"\n'
PYPROJECT = """[tool.pytest.ini_options]
faulthandler_timeout = 10
faulthandler_exit_on_timeout = true
"""
GOOD = "def test_it(): pass\n"
LEAVES_A_PROCESS = """
import subprocess
def test_it(): subprocess.Popen(["sleep", "300"], start_new_session=True)
"""
LEAVES_A_FILE = """
import os, pathlib
def test_it(): pathlib.Path(os.environ["TMPDIR"], "forgotten").touch()
"""
STEPS = """
import pytest
pytestmark = pytest.mark.steps
def test_first(): pass
def test_second(): assert False
def test_third(): raise SystemExit("must not run")
"""
HANGS = """
import time
def helper_that_hangs(): time.sleep(300)
def test_it(): helper_that_hangs()
"""
WAITS = """
import pathlib, time
def test_it(tmp_path):
    try:
        pathlib.Path("begun").touch()
        time.sleep(2)
        time.sleep(2)
    finally:
        pathlib.Path("tidied").touch()
"""
FAILS_TO_TIDY = """
import pathlib, time
def test_it():
    try:
        pathlib.Path("begun").touch()
        time.sleep(2)
        time.sleep(2)
    finally:
        raise AssertionError("what was started has not ended")
def test_next(): pathlib.Path("went-on").touch()
"""


@dataclass(frozen=True)
class Ended:
    """A run's exit status and what it said."""

    status: int
    said: str
    records: Path

    def lane(self, name: str) -> str:
        """How the lane *name* ended, without its seconds."""
        [line] = re.findall(rf"^\S+  {name}: (\d+ passed.*)$", self.said, re.MULTILINE)
        return re.sub(r" in \d+ s;", ";", line)


def a_checkout(folder: Path) -> Path:
    """*folder* as a checkout with this suite and no tests."""
    (folder / "tests").mkdir()
    for name in ("lab", "tests/suite", "tests/conclusive.py", "tests/__init__.py"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "tests/conftest.py").write_text('pytest_plugins = ["tests.suite.plugin"]\n')
    (folder / "pyproject.toml").write_text(PYPROJECT)
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return a_checkout(tmp_path)


@contextmanager
def begin(checkout: Path, **lanes: str) -> Iterator[subprocess.Popen[str]]:
    """``python -m tests.suite`` with *lanes*, name -> text of its one module; told to stop at the block's end."""
    (checkout / "tests/lanes.toml").write_text("[places]\n" + "".join(map(LANE.format, lanes)) + LAST)
    for name, text in lanes.items():
        (checkout / f"tests/test_{name}.py").write_text(text)
    (checkout / "tmp").mkdir(exist_ok=True)
    environment = {**os.environ, "QWENKIT_CACHE": str(checkout / "cache"), "TMPDIR": str(checkout / "tmp")}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.suite", *lanes],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as suite:
        try:
            yield suite
        finally:
            if suite.poll() is None:  # what its lanes have started is not known to the run that this is part of
                suite.terminate()
                suite.communicate(timeout=patience(LIMIT_S))


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """One run of lanes that go wrong in every way, and two that do not."""
    lanes = {
        "bad": "def test_it(): assert 1 == 2\n",
        "good": GOOD,
        "better": GOOD,
        "dead": "import os\ndef test_it(): os._exit(0)\n",
        "empty": "",
        "hangs": HANGS,
        "steps": STEPS,
        "process": LEAVES_A_PROCESS,
        "file": LEAVES_A_FILE,
    }
    checkout = a_checkout(tmp_path_factory.mktemp("ended"))
    with begin(checkout, **lanes) as suite:
        said, _ = suite.communicate(timeout=patience(LIMIT_S))
    return Ended(suite.returncode, said, checkout / f"cache/suite-{os.geteuid()}")


def test_a_lane_that_fails_takes_no_other_along_and_is_told_at_once_and_whole(ended: Ended) -> None:
    assert ended.status == 1
    assert "bad: FAILED tests/test_bad.py::test_it" in ended.said
    assert "assert 1 == 2" in ended.said
    assert ended.lane("good") == ended.lane("better") == "1 passed, 0 failed, 0 skipped; left behind: nothing"


def test_a_lane_that_dies_or_runs_no_test_has_failed(ended: Ended) -> None:
    assert ended.lane("dead") == ended.lane("empty") == "0 passed, 1 failed, 0 skipped; left behind: nothing"


def test_a_test_that_hangs_ends_its_lane_with_its_stack(ended: Ended) -> None:
    assert ended.lane("hangs").startswith("0 passed, 1 failed")
    assert "in helper_that_hangs" in ended.said


def test_the_steps_after_one_that_failed_are_skipped(ended: Ended) -> None:
    assert ended.lane("steps").startswith("1 passed, 1 failed, 1 skipped")


def test_what_a_lane_leaves_is_told_and_gone(ended: Ended) -> None:
    assert ended.lane("file") == "1 passed, 0 failed, 0 skipped; left behind: file forgotten"
    assert (ended.records / "file.files/forgotten").exists()
    [left] = re.findall(r"left behind: process (\d+): sleep 300", ended.lane("process"))
    # Where nobody buries it, an ended process keeps its number and loses its command.
    command = Path(f"/proc/{left}/cmdline")
    assert not command.exists() or command.read_bytes() == b""


def test_the_last_line_counts_every_lane(ended: Ended) -> None:
    assert ended.said.splitlines()[-1] == "5 passed, 5 failed, 1 skipped"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_lets_lanes_tidy_up(checkout: Path, number: signal.Signals) -> None:
    with begin(checkout, waits=WAITS) as suite:
        until_there(checkout / "begun", suite)
        suite.send_signal(number)
        said, _ = suite.communicate(timeout=patience(LIMIT_S))
    assert suite.returncode == 130, said
    assert "stopping waits" in said
    assert (checkout / "tidied").exists()


def test_a_lane_goes_no_further_after_an_interrupt_though_its_cleaning_up_fails(checkout: Path) -> None:
    with begin(checkout, fails=FAILS_TO_TIDY) as suite:
        until_there(checkout / "begun", suite)
        suite.send_signal(signal.SIGINT)
        said, _ = suite.communicate(timeout=patience(LIMIT_S))
    assert suite.returncode == 130, said
    assert not (checkout / "went-on").exists()


def test_lanes_of_a_killed_run_end_by_themselves_and_the_next_run_removes_its_folder(checkout: Path) -> None:
    with begin(checkout, waits=WAITS) as suite:
        until_there(checkout / "begun", suite)
        suite.kill()
    wait_until((checkout / "tidied").exists, LIMIT_S, "the lane ends by itself")
    with begin(checkout, good=GOOD) as suite:
        said, _ = suite.communicate(timeout=patience(LIMIT_S))
    assert suite.returncode == 0, said
    assert list((checkout / "tmp").iterdir()) == []


def until_there(path: Path, suite: subprocess.Popen[str]) -> None:
    wait_until(lambda: path.exists() or suite.poll() is not None, LIMIT_S, str(path))
    assert path.exists(), suite.communicate(timeout=patience(LIMIT_S))[0]


@pytest.fixture
def own_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the claim of the run that this test is part of."""
    monkeypatch.setattr(machine, "CLAIM", f"qwenkit-suite-test-{os.getpid()}")
    monkeypatch.setattr(machine, "ASK_EVERY_S", 0.05)


@pytest.mark.usefixtures("own_claim")
def test_a_second_run_says_whom_it_waits_for_and_then_has_its_turn() -> None:
    said: list[str] = []
    first, second = machine.claim(said.append), threading.Thread(target=lambda: machine.claim(said.append).close())
    second.start()
    wait_until(lambda: said, LIMIT_S, "the second one says something")
    first.close()
    second.join(patience(LIMIT_S))
    assert not second.is_alive()
    assert said == [f"waiting: process {os.getpid()} in {Path.cwd()} runs its lanes; {machine.WHY}"]
