"""Rows of the measurement files become cases once each, with what they do not say put right."""

from __future__ import annotations

from collections import Counter

import pytest

from sizing.facts.catalogue import load_facts
from sizing.fitting.measurements import MEASUREMENTS, Case, silicon


@pytest.fixture(scope="module")
def rows() -> list[Case]:
    return [*silicon(load_facts(), MEASUREMENTS / "silicon.csv")]


def test_copies_and_other_modes_are_left_out_of_the_silicon_rows(rows: list[Case]) -> None:
    assert len({case.id for case in rows}) == len(rows)
    loads = Counter((case.configuration, case.traffic.concurrency) for case in rows)
    twice = {load: count for load, count in loads.items() if count > 1}
    assert len(twice) == 1  # one load was measured on two days, with TTFTs a third apart
    assert max(case.setup.tp for case in rows) == 8


def test_runs_with_drafts_are_known_by_their_image_in_every_copy(rows: list[Case]) -> None:
    drafting = [case for case in rows if case.setup.speculative_tokens]
    assert len(drafting) == 19
    assert {(case.setup.engine_version, case.setup.tp, case.setup.expert_parallel) for case in drafting} == {
        ("0.5.9", 4, False)
    }
