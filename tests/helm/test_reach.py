"""The question that test_security_on_a_cluster.py asks in pods, asked here on this machine."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests import waiting
from tests.helm.reach import Asked, Target
from tests.ports import free_port


def run(_: str, *arguments: str) -> tuple[bool, str]:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=300)
    return done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def open_one() -> Iterator[Target]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield ("127.0.0.1", server.getsockname()[1])


def test_what_is_reached_is_named_and_what_is_closed_is_not(open_one: Target) -> None:
    targets: dict[str, Target] = {
        "open": open_one,
        "closed": ("127.0.0.1", free_port()),
        "name": ("localhost",),
        "nobody's name": ("nobody.invalid.",),
    }
    asked = Asked(run, control=open_one)
    assert asked.reached(targets) == ["open", "name"]
    asked.wait_to_reach(["open", "name"], targets)


def test_a_refusal_counts_only_if_the_control_was_reached(open_one: Target) -> None:
    answers = [(False, "error: the container is not running"), (True, "[false, false]\n"), (True, "[true, true]\n")]
    asked = Asked(lambda *_: answers.pop(0), control=open_one)
    assert asked.reached({"open": open_one}) == ["open"]
    assert answers == []


def test_without_its_control_nothing_is_said(monkeypatch: pytest.MonkeyPatch, open_one: Target) -> None:
    monkeypatch.setattr(waiting, "slowness", lambda: 1.0)
    monkeypatch.setattr("tests.helm.reach.LIMIT_S", 0.2)
    with pytest.raises(AssertionError, match="as it must"):
        Asked(run, control=("127.0.0.1", free_port())).reached({"open": open_one})


def test_what_is_reached_though_it_should_not_is_told(monkeypatch: pytest.MonkeyPatch, open_one: Target) -> None:
    monkeypatch.setattr(waiting, "slowness", lambda: 1.0)
    monkeypatch.setattr("tests.helm.reach.LIMIT_S", 0.2)
    with pytest.raises(AssertionError, match=r"it reaches \['stranger'\], not \[\]"):
        Asked(run, control=open_one).wait_to_reach([], {"stranger": open_one})
