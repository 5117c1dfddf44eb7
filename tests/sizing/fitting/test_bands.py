"""Bands hold nine in ten of what they were drawn from, are no narrower for strangers, and are read back as written."""

from __future__ import annotations

import math
import random
import shutil
from pathlib import Path

import pytest

from sizing.facts.calibration import LEVELS, SPEED, read
from sizing.fitting.bands import ENOUGH, Residual, bands, coverage, write_bands


def scattered(engine: str, cell: str, width: float, count: int) -> list[Residual]:
    """*count* residuals of as many configurations, normal with standard deviation *width*."""
    seeded = random.Random(f"{engine} {cell}")
    return [(engine, cell, f"{cell} {index}", "tpot", seeded.gauss(0, width)) for index in range(count)]


CALM, WILD = scattered("vllm", "calm", 0.05, 60), scattered("vllm", "wild", 0.15, 60)


def test_a_band_holds_nine_in_ten_of_normal_scatter() -> None:
    found, _ = bands(dict.fromkeys(LEVELS, CALM))
    band = found["vllm"]["measured"]["tpot"]
    inside = [band.low <= math.exp(error) <= band.high for *_, error in CALM]
    assert 0.88 <= sum(inside) / len(inside) <= 0.95


def test_a_cell_that_scatters_less_gets_the_narrower_band() -> None:
    _, powers = bands({level: [*CALM, *WILD] for level in LEVELS})
    assert powers["calm"]["tpot"] < 0.8 < 1.2 < powers["wild"]["tpot"]


def test_each_cell_of_a_mixed_engine_is_covered_by_its_own_band() -> None:
    held = coverage([*CALM, *WILD])
    for cell in ("calm", "wild"):
        inside = held["vllm", cell, "tpot"]
        assert 0.83 <= sum(inside) / len(inside) <= 1.0


def test_a_stranger_never_gets_a_narrower_band_than_what_was_measured() -> None:
    found, _ = bands(dict(zip(LEVELS, (WILD, CALM, CALM, CALM), strict=True)))
    widths = [found["vllm"][level]["tpot"].high / found["vllm"][level]["tpot"].low for level in LEVELS]
    assert widths == sorted(widths)


def test_an_engine_with_few_figures_shares_those_of_all() -> None:
    few = scattered("sglang", "few", 0.01, ENOUGH - 1)
    found, _ = bands({level: [*CALM, *few] for level in LEVELS})
    assert found["sglang"]["unseen"]["tpot"].rows == len(CALM) + len(few)
    assert found["vllm"]["unseen"]["tpot"].rows == len(CALM)


def test_written_bands_are_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "speed"
    shutil.copytree(SPEED, folder)
    found, powers = bands({level: [*CALM, *WILD] for level in LEVELS})
    write_bands(folder, found, powers, {"vllm": {"RTX 4090"}})
    written = read(folder).bands
    assert written.cells == powers
    assert written.cards == {"vllm": ("RTX 4090",)}
    assert written.engines["vllm"]["card"]["tpot"] == pytest.approx(found["vllm"]["card"]["tpot"])
