"""The fit moves constants towards measurements, leaves the rest alone, and writes what it found."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sizing.facts.calibration import SPEED, Calibration, read
from sizing.facts.catalogue import load_facts
from sizing.fitting.adjustable import Adjustable, depends, write_constants
from sizing.fitting.fit import Fit, fit, log_errors
from sizing.fitting.held_out import held_out
from sizing.fitting.measurements import MEASUREMENTS, Case, h200


@pytest.fixture(scope="module")
def few() -> list[Case]:
    return [*h200(load_facts(), MEASUREMENTS / "h200-vllm-0.26.0.jsonl")][:20]


@pytest.fixture(scope="module")
def fitted(few: list[Case]) -> tuple[Adjustable, Calibration, Fit]:
    base = read()
    constants = Adjustable.of(base)
    return constants, base, fit(constants, base, few, np.zeros(len(constants.addresses)), rounds=2)


def off(cases: list[Case], known: Calibration) -> float:
    return float(np.mean(np.abs([error for case in cases for error in log_errors(case, known)])))


def test_two_rounds_bring_estimates_closer_to_measurements(
    few: list[Case], fitted: tuple[Adjustable, Calibration, Fit]
) -> None:
    constants, base, found = fitted
    guessed = constants.calibration(np.zeros_like(found.logs), base)
    assert off(few, constants.calibration(found.logs, base)) < 0.8 * off(few, guessed)


def test_constants_that_no_measurement_touches_stay_at_their_guess(fitted: tuple[Adjustable, Calibration, Fit]) -> None:
    _, _, found = fitted
    untouched = [abs(log) for log, rows in zip(found.logs, found.rows, strict=True) if rows == 0]
    assert len(untouched) > 20
    assert max(untouched) < 1e-9


def test_what_was_left_out_is_estimated_worse_than_what_was_fitted(
    few: list[Case], fitted: tuple[Adjustable, Calibration, Fit]
) -> None:
    constants, base, found = fitted
    errors = held_out(constants, base, few, found, lambda case: case.group)
    blind = float(np.mean(np.abs([error for case in few for error in errors[case.id]])))
    assert blind > off(few, constants.calibration(found.logs, base))


def test_a_constant_that_cannot_move_a_case_does_not(few: list[Case]) -> None:
    base = read()
    constants = Adjustable.of(base)
    case = few[0]
    for index, address in enumerate(constants.addresses):
        if not depends(case, address, base):
            logs = np.zeros(len(constants.addresses))
            logs[index] = 0.3
            still = log_errors(case, constants.calibration(np.zeros_like(logs), base))
            assert log_errors(case, constants.calibration(logs, base)) == pytest.approx(still), address


def test_written_constants_are_read_back(fitted: tuple[Adjustable, Calibration, Fit], tmp_path: Path) -> None:
    constants, base, found = fitted
    folder = tmp_path / "speed"
    shutil.copytree(SPEED, folder)
    write_constants(constants, found.logs, found.errors, found.rows, folder)
    wanted = constants.calibration(found.logs, base)
    for engine, speed in read(folder).engines.engines.items():
        for name, constant in speed.constants.items():
            assert constant.value == pytest.approx(wanted.engines.engines[engine].constants[name].value, rel=1e-3)
