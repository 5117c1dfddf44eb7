"""One request side by side: rows agree with the plan, say what they miss, and answer for cards that nobody sells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sizing.errors import BadRequest, UnknownFact
from sizing.facts.catalogue import load_facts
from sizing.hosts.candidates import Host, hosts
from sizing.planning.planning import plan
from sizing.request.request import Request, read_request
from sizing.whatif.compare import Row, compare
from tests.sizing.cli.test_main import qwenkit

ROOT = Path(__file__).parents[3]
FACTS = load_facts()


def asked(name: str, **changes: object) -> Request:
    request = read_request(ROOT / "deployments" / name / "request.toml")
    return Request.model_validate({**request.model_dump(), **changes})


def offered(kind: str) -> list[Host]:
    return hosts(FACTS, asked("prod-qwen3-8b", place={"kind": kind}))[0]


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    return {row.subject: row for row in compare(asked("prod-qwen3-8b"), FACTS, "gpu")}


def test_every_gpu_has_one_row(rows: dict[str, Row]) -> None:
    assert set(rows) == set(FACTS.gpus)


def test_the_row_of_the_plans_gpu_is_the_plan(rows: dict[str, Row]) -> None:
    planned = plan("prod-qwen3-8b", asked("prod-qwen3-8b"), FACTS)
    row = rows[str(planned.placement.gpu)]
    assert (row.host, row.hosts, row.replicas) == (
        planned.placement.host_type,
        planned.placement.hosts,
        planned.placement.replicas,
    )
    assert row.estimates == planned.estimates
    assert row.ledger == planned.memory.ledger
    assert row.usd_per_hour == planned.cost.usd_per_hour


def test_what_meets_the_request_comes_first_and_the_cheapest_of_it_foremost(rows: dict[str, Row]) -> None:
    prices = [row.usd_per_hour for row in rows.values() if row.verdict == "meets" and row.usd_per_hour is not None]
    assert [round(price, 2) for price in prices] == sorted(round(price, 2) for price in prices)
    assert round(prices[0], 2) == round(min(prices), 2)
    assert next(iter(rows.values())).usd_per_hour == prices[0]


def test_what_the_limits_exclude_is_marked_and_comes_after_all_that_they_allow() -> None:
    limited = asked("prod-qwen3-8b", limits={"gpus": ["L4", "A10G", "L40S"]})
    rows = compare(limited, FACTS, "gpu", ["RTX 5070 Ti", "L4", "A10G", "L40S"])
    assert [row.subject for row in rows if not row.outside] == [row.subject for row in rows[:3]]
    assert (rows[3].subject, rows[3].verdict) == ("RTX 5070 Ti", "meets")
    assert rows[3].outside == "limits.gpus allows L4, A10G, L40S"


@pytest.mark.parametrize(("by", "limit", "other"), [("engine", "sglang", "vllm"), ("precision", "bf16", "fp8")])
def test_an_engine_or_a_precision_that_is_asked_for_comes_first(by: Any, limit: str, other: str) -> None:
    rows = compare(asked("prod-qwen3-8b", limits={by: limit}), FACTS, by, [limit, other])
    assert [(row.subject, bool(row.outside)) for row in rows] == [(limit, False), (other, True)]


def test_a_request_for_the_cpu_engine_leads_with_its_own_plan_and_marks_the_cards() -> None:
    request = asked("laptop")
    first, *others = compare(request, FACTS, "gpu")
    planned = plan("laptop", request, FACTS)
    assert (first.engine, first.host, first.gpu) == ("vllm-cpu", planned.placement.host_type, None)
    assert (first.estimates, first.outside) == (planned.estimates, "")
    assert all(row.outside == "limits.engine allows vllm-cpu" for row in others)


def test_at_the_same_price_the_precision_that_the_plan_takes_leads() -> None:
    request = asked("prod-qwen3-8b", limits={"gpus": ["L4"]})
    rows = compare(request, FACTS, "precision")
    assert rows[0].precision == plan("prod-qwen3-8b", request, FACTS).model.precision
    (awq,) = (row for row in rows if row.subject == "awq")
    assert f"{awq.usd_per_hour:.2f}" == f"{rows[0].usd_per_hour:.2f}"
    assert (awq.usd_per_hour or 0) < (rows[0].usd_per_hour or 0)  # by its smaller disk alone


def test_a_card_that_no_place_sells_is_a_what_if_without_a_price(rows: dict[str, Row]) -> None:
    sold = {host.gpu.id for kind in ("aws-eks", "home", "rented") for host in offered(kind)}
    unsold = [row for row in rows.values() if row.subject not in sold]
    assert unsold
    for row in unsold:
        assert row.usd_per_hour is None
        assert row.place is None
        assert row.estimates is not None or row.verdict == "cannot"
    assert all(row.usd_per_hour is not None for row in rows.values() if row.subject in sold)


def test_a_card_of_the_asked_place_is_compared_there_and_another_where_it_is_cheapest(rows: dict[str, Row]) -> None:
    assert rows["L4"].place == "aws-eks us-east-1"
    assert rows["RTX 4090"].place == "home"
    at_home = {row.subject: row for row in compare(asked("home-server"), FACTS, "gpu", ["RTX 4090", "L4"])}
    assert at_home["RTX 4090"].host == "home-1x-rtx-4090"
    assert at_home["L4"].place == "rented"


def test_a_row_that_misses_a_target_shows_what_it_does_and_both_numbers() -> None:
    strict = asked("prod-qwen3-8b", targets={"tpot_ms": 15.0})
    row = compare(strict, FACTS, "gpu", ["RTX 3060 12GB"])[0]
    assert row.verdict == "misses"
    assert row.estimates is not None
    assert row.estimates.tpot_s is not None
    assert row.reason == f"TPOT mean {row.estimates.tpot_s.mean * 1000:,.0f} ms; the target is 15 ms"


def test_what_fits_no_host_of_a_card_cannot_and_says_the_two_sizes() -> None:
    row = compare(asked("prod-qwen3-8b", model="qwen3-235b-a22b"), FACTS, "gpu", ["RTX 3080 10GB"])[0]
    assert row.verdict == "cannot"
    assert "GiB" in row.reason
    assert row.estimates is None


def test_a_budget_that_a_row_exceeds_is_a_miss_in_dollars() -> None:
    row = compare(asked("prod-qwen3-8b", limits={"usd_per_hour": 0.5}), FACTS, "gpu", ["L40S"])[0]
    assert row.verdict == "misses"
    assert "the budget is 0.5 $/h" in row.reason


def test_every_published_precision_has_a_row_and_another_one_is_refused_with_what_there_is() -> None:
    request = asked("prod-qwen3-8b")
    model = FACTS.models["qwen3-8b"]
    rows = compare(request, FACTS, "precision")
    assert {row.subject for row in rows} == {name for name in FACTS.precisions if model.repository(name)}
    assert all(row.precision == row.subject for row in rows)
    other = compare(request, FACTS, "precision", ["nvfp4"])[0]
    assert other.verdict == "cannot"
    assert "published are" in other.reason


def test_a_quantised_repository_is_compared_with_the_other_precisions() -> None:
    rows = compare(asked("prod-qwen3-8b", model="Qwen/Qwen3-8B-AWQ"), FACTS, "precision")
    assert {"bf16", "fp8", "awq"} <= {row.subject for row in rows if row.verdict == "meets"}


def test_both_engines_have_a_row() -> None:
    rows = compare(asked("prod-qwen3-8b"), FACTS, "engine")
    assert {(row.subject, row.engine) for row in rows} == {("vllm", "vllm"), ("sglang", "sglang")}


def test_a_cpu_deployment_is_compared_by_gpu_only() -> None:
    assert compare(asked("laptop"), FACTS, "gpu", ["L4"])[0].verdict == "meets"
    with pytest.raises(BadRequest, match="nothing to compare by engine"):
        compare(asked("laptop"), FACTS, "engine")


@pytest.mark.parametrize(("by", "names"), [("gpu", ["L5", "RTX 9"]), ("precision", ["fp7", "x"]), ("engine", ["y"])])
def test_every_unknown_name_is_one_sentence(by: str, names: list[str]) -> None:
    with pytest.raises(UnknownFact) as refusal:
        compare(asked("prod-qwen3-8b"), FACTS, by, names)  # type: ignore[arg-type]
    assert len(refusal.value.problems) == len(names)
    assert all(name in problem for name, problem in zip(names, refusal.value.problems, strict=True))


def test_the_command_prints_the_same_rows_as_json() -> None:
    done = qwenkit("compare", "prod-qwen3-8b", "--only", "L4, rtx3090", "--json")
    assert done.returncode == 0, done.stderr
    printed = tuple(Row.model_validate(row) for row in json.loads(done.stdout))
    assert printed == compare(asked("prod-qwen3-8b"), FACTS, "gpu", ["L4", "rtx3090"])


@pytest.mark.parametrize("columns", [80, 140])
def test_the_table_is_readable_at_any_width(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    done = qwenkit("compare", "prod-qwen3-8b", "--only", "L4,A10")
    assert done.returncode == 0, done.stderr
    assert max(len(line) for line in done.stdout.splitlines()) <= columns
    assert "…" not in done.stdout
    for words in ("g6.xlarge", "what-if", "TTFT ms", "/Mtok", "p95"):
        assert words in done.stdout


def test_a_bad_name_exits_2() -> None:
    done = qwenkit("compare", "prod-qwen3-8b", "--only", "L5,X9")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 2)


def test_a_named_machine_without_a_gpu_is_compared_with_cards_at_home() -> None:
    place = {"kind": "home", "host": next(host.id for host in FACTS.cpu_hosts.values() if host.place == "home")}
    at_home = compare(asked("laptop", place=place), FACTS, "gpu", ["RTX 4090"])[0]
    assert (at_home.verdict, at_home.place) == ("meets", "home")
