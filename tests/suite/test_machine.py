"""What a run may remove of clusters and hosts, and what it must leave alone."""

from __future__ import annotations

import mmap
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.standins.host import leftovers
from tests.suite import machine


@dataclass(frozen=True)
class APlace:
    folder: Path
    runs: bool

    def claim(self) -> socket.socket | None:
        return None if self.runs else socket.socket()


@pytest.fixture
def taken_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Names of the clusters that were removed, of one that runs, one that was killed and one that a user kept."""
    here = [APlace(tmp_path / name, name == "runs") for name in ("runs", "killed", "kept")]
    for place in here:
        place.folder.mkdir()
    removed: list[str] = []
    monkeypatch.setattr(machine, "places", lambda: iter(here))
    monkeypatch.setattr(machine, "take_down", lambda place: removed.append(place.folder.name))
    monkeypatch.setattr(leftovers, "sweep", lambda: None)
    return removed


def test_only_a_cluster_that_came_and_runs_no_more_is_removed(taken_down: list[str], tmp_path: Path) -> None:
    traces = machine.traces()
    assert {f"folder {tmp_path / name}" for name in ("runs", "killed", "kept")} <= traces
    machine.clear({f"folder {tmp_path / name}" for name in ("runs", "killed")})
    assert taken_down == ["killed"]


def test_shared_memory_that_nobody_has_any_more_is_removed(
    taken_down: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "SEGMENTS", tmp_path)
    for name in ("psm_dead", "psm_used", "somebody's"):
        (tmp_path / name).write_bytes(b"x" * mmap.PAGESIZE)
    with (tmp_path / "psm_used").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        traces = {trace for trace in machine.traces() if trace.startswith(machine.SHARED)}
    assert traces == {f"{machine.SHARED}psm_dead"}
    machine.clear(traces)
    assert not taken_down
    assert not (tmp_path / "psm_dead").exists()


def test_a_folder_that_only_looks_like_a_runs_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("qk-anything", "qk-4194305-dead", "mine"):  # no process has that number
        (tmp_path / name).mkdir()
    made = machine.temporary()
    assert {path.name for path in tmp_path.iterdir()} == {"qk-anything", "mine", made.name}
