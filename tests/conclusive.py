"""
Experiments whose premise may not be met, so that they say nothing about the product: a stream that was to be open when
something happened was over before. Such a run is repeated with larger parameters, and told; a claim about the product
that fails is never repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

T = TypeVar("T")

EFFORTS = (1, 2, 4)
PROPERTY = "inconclusive"  # of the test, in the JUnit report

_running: list[pytest.Item] = []


class Inconclusive(Exception):
    """The premise was not met: nothing was learnt about the product."""


def conclusive(experiment: Callable[[int], T]) -> T:
    """
    What *experiment* returns. It is given 1, after an `Inconclusive` 2, then 4: how much more to do than planned.

    Raises:
        Inconclusive: with all reasons, after the third one.
    """
    reasons: list[str] = []
    for effort in EFFORTS:
        try:
            return experiment(effort)
        except Inconclusive as reason:
            reasons.append(str(reason))
            if effort != EFFORTS[-1]:
                for item in _running[-1:]:
                    item.user_properties.append((PROPERTY, str(reason)))
    raise Inconclusive(f"{len(EFFORTS)} times nothing was learnt: {'; '.join(reasons)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Know whose experiment it is."""
    _running.append(item)
    try:
        return (yield)
    finally:
        _running.remove(item)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many runs were repeated, and of which tests."""
    repeated = {
        report.nodeid: [reason for name, reason in report.user_properties if name == PROPERTY]
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "teardown"
    }
    told = [(test, reason) for test, reasons in repeated.items() for reason in reasons]
    if told:
        names = ", ".join(sorted({test for test, _ in told}))
        terminalreporter.write_line(f"inconclusive: {len(told)} repeated ({names})", yellow=True)
        for test, reason in told:
            terminalreporter.write_line(f"  {test}: {reason}")
