"""Errors of the notes: each corrected, sourced, and tied to names that exist."""

from __future__ import annotations

import pytest

from sizing.advice.needs import load_needs
from sizing.facts.catalogue import load_facts
from sizing.facts.errata import Erratum, load_errata, touching

FACTS = load_facts()


@pytest.mark.parametrize("erratum", load_errata(), ids=lambda erratum: erratum.claim)
def test_an_erratum_has_correction_and_source_and_touches_what_exists(erratum: Erratum) -> None:
    assert erratum.correction
    assert erratum.source
    known = {*load_needs(), *FACTS.models, *FACTS.gpus, *FACTS.engines}
    assert erratum.touches
    assert [name for name in erratum.touches if name not in known] == []


def test_every_error_of_the_survey_is_listed_once() -> None:
    claims = [erratum.claim for erratum in load_errata()]
    assert len(claims) == len(set(claims)) == 44


def test_only_what_touches_the_subject_is_told() -> None:
    assert touching([]) == ()
    assert all("A10G" in erratum.touches for erratum in touching(["A10G"]))
    assert len(touching(["A10G"])) >= 4
