"""Only what said nothing is repeated, and everybody is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conclusive import Inconclusive, conclusive

ROOT = Path(__file__).parents[1]
SUITE = """
import pytest
from tests.conclusive import Inconclusive, conclusive

def experiment(effort):
    if effort < 4:
        raise Inconclusive(f"too light by {effort}")
    return effort

@pytest.fixture
def prepared():
    return conclusive(lambda effort: effort if effort > 1 else experiment(1))

def test_light():
    assert conclusive(experiment) == 4

def test_prepared(prepared):
    assert prepared == 2

def test_heavy():
    assert conclusive(lambda effort: effort) == 1

def test_never():
    conclusive(lambda effort: experiment(1))
"""


@pytest.fixture(autouse=True)
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    """This suite's own summary is about others."""
    monkeypatch.setattr(sys.modules[conclusive.__module__], "_running", [])


class Experiment:
    """Says something only if it does *enough*."""

    def __init__(self, enough: int) -> None:
        self.enough = enough
        self.efforts: list[int] = []

    def __call__(self, effort: int) -> int:
        self.efforts.append(effort)
        if effort < self.enough:
            raise Inconclusive(f"{effort} was too little")
        return effort


@pytest.mark.parametrize(("enough", "efforts"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 4])])
def test_it_is_repeated_with_more_until_it_says_something(enough: int, efforts: list[int]) -> None:
    experiment = Experiment(enough)
    assert conclusive(experiment) == efforts[-1]
    assert experiment.efforts == efforts


def test_three_times_nothing_is_a_failure_with_every_reason() -> None:
    with pytest.raises(Inconclusive, match="3 times nothing was learnt: 1 was too little; 2 was too little; 4 was"):
        conclusive(Experiment(5))


def test_a_claim_about_the_product_is_never_repeated() -> None:
    asked: list[int] = []

    def claim(effort: int) -> None:
        asked.append(effort)
        raise AssertionError("the product is wrong")

    with pytest.raises(AssertionError, match="the product is wrong"):
        conclusive(claim)
    assert asked == [1]


def test_repetitions_are_in_the_summary_and_in_the_junit_report(tmp_path: Path) -> None:
    hooks = "pytest_runtest_protocol, pytest_terminal_summary"
    (tmp_path / "conftest.py").write_text(f"from tests.conclusive import {hooks}\n")
    (tmp_path / "test_it.py").write_text(SUITE)
    (tmp_path / "pytest.ini").touch()
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(tmp_path / "pytest.ini"), str(tmp_path)]
    junit = tmp_path / "junit.xml"
    done = subprocess.run(
        [*command, f"--junitxml={junit}"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert "1 failed, 3 passed" in done.stdout
    assert "inconclusive: 5 repeated (test_it.py::test_light, test_it.py::test_never, test_it.py::test_prepared)" in (
        done.stdout
    )
    assert "  test_it.py::test_light: too light by 2\n" in done.stdout
    assert "3 times nothing was learnt: too light by 1; too light by 1; too light by 1" in done.stdout
    found = {
        case.get("name"): [each.get("value") for each in case.iter("property") if each.get("name") == "inconclusive"]
        for case in ElementTree.parse(junit).iter("testcase")
    }
    assert found == {
        "test_light": ["too light by 1", "too light by 2"],
        "test_prepared": ["too light by 1"],
        "test_heavy": [],
        "test_never": ["too light by 1", "too light by 1"],
    }
