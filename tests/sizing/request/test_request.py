"""What is refused, and in which words: one case a file under cases/refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from sizing.errors import KitError
from sizing.facts.catalogue import load_facts
from sizing.planning.planning import plan
from sizing.request.request import Request, read_request

CASES = sorted((Path(__file__).parent / "cases").glob("*.toml"))
DEPLOYMENTS = Path(__file__).parents[3] / "deployments"


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_a_bad_request_is_refused_in_plain_words(case: Path, tmp_path: Path) -> None:
    wanted = tomllib.loads(case.read_text())
    path = tmp_path / "request.toml"
    path.write_text(wanted["request"])
    with pytest.raises(KitError) as refusal:
        plan("case", read_request(path), load_facts())
    said = "\n".join(refusal.value.problems)
    assert [words for words in wanted["says"] if words.lower() not in said.lower()] == [], said


@pytest.mark.parametrize("path", sorted(DEPLOYMENTS.glob("*/request.toml")), ids=lambda path: path.parent.name)
def test_a_committed_request_reads_and_round_trips(path: Path) -> None:
    request = read_request(path)
    assert Request.model_validate_json(request.model_dump_json()) == request


def test_every_problem_of_a_request_is_its_own_sentence(tmp_path: Path) -> None:
    path = tmp_path / "request.toml"
    path.write_text(tomllib.loads((CASES[0].parent / "everything-wrong-at-once.toml").read_text())["request"])
    with pytest.raises(KitError) as refusal:
        read_request(path)
    assert len(refusal.value.problems) == 6
