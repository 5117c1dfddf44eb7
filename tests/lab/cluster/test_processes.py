import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lab.cluster import processes
from tests.children import child, exit_code

MARKER = f"QWENKIT_CLUSTER=/test/{os.getpid()}"


@pytest.fixture
def sleepers() -> Iterator[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """One process with the marker, one with a marker that begins like it."""
    name, value = MARKER.split("=")
    with ExitStack() as started:
        marked, other = (
            started.enter_context(child(["sleep", "600"], env={**os.environ, name: text})).process
            for text in (value, f"{value}0")
        )
        yield marked, other


def test_only_processes_that_carry_the_marker_are_ended(
    sleepers: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]],
) -> None:
    marked, other = sleepers
    assert processes.pids(MARKER) == [marked.pid]
    processes.end(MARKER)
    assert exit_code(marked, 5) == -9
    assert other.poll() is None
    assert processes.pids(MARKER) == []


def test_ending_what_is_not_there_is_no_error() -> None:
    processes.end(f"{MARKER}-never-started")
