"""A free port stays free until the server it was meant for binds it."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import ports
from tests.children import child
from tests.ports import candidates, free_port

ROOT = Path(__file__).parents[1]
MANY = 500
ASK = f"""
import time
from tests.ports import free_port
print(*(free_port() for _ in range({MANY})), flush=True)
time.sleep(600)
"""


def test_processes_that_ask_at_once_are_never_given_the_same_port() -> None:
    with ExitStack() as started:
        asking = [started.enter_context(child([sys.executable, "-c", ASK], cwd=ROOT)) for _ in range(2)]
        given = [
            port for process in asking for port in process.line(60).split()
        ]  # whoever was first still holds its own
    assert len(set(given)) == len(given) == 2 * MANY


def test_a_port_is_given_once_and_from_outside_the_range_of_clients() -> None:
    first_of_clients = int(ports.RANGE.read_text().split()[0])
    given = [free_port() for _ in range(50)]
    assert len(set(given)) == 50
    assert all(1024 <= port < first_of_clients for port in given)


def test_a_port_that_somebody_listens_on_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        another = free_port()
        monkeypatch.setattr(ports, "candidates", lambda: range(port, port + 1))
        monkeypatch.setattr(ports, "claim", lambda _: socket.socket(socket.AF_UNIX))
        with pytest.raises(OSError, match=f"every port from {port} to {port} is taken"):
            free_port()
    assert another != port
    assert free_port() == port


def test_the_ports_are_below_the_clients_wherever_these_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "RANGE", tmp_path / "range")
    for first, expected in (
        (32768, range(20_000, 30_000)),
        (15_000, range(5_000, 15_000)),
        (9_000, range(1024, 9_000)),
    ):
        (tmp_path / "range").write_text(f"{first}\t60999\n")
        assert candidates() == expected
