"""The plan as a whole: it meets what was asked, adds up, says why the others lost, and comes back from its file."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizing.errors import KitError
from sizing.facts.catalogue import load_facts
from sizing.plan.plan import Plan
from sizing.planning.planning import plan
from sizing.request.request import Limits, Load, Place, Request, Targets, read_request
from sizing.units import CENT

FACTS = load_facts()
DEPLOYMENTS = Path(__file__).parents[3] / "deployments"
REQUESTS = sorted(DEPLOYMENTS.glob("*/request.toml"))


def planned(path: Path) -> Plan:
    return plan(path.parent.name, read_request(path), FACTS)


@pytest.fixture(scope="module", params=REQUESTS, ids=lambda path: path.parent.name)
def made(request: pytest.FixtureRequest) -> Plan:
    return planned(request.param)


def test_a_plan_meets_its_targets(made: Plan) -> None:
    targets = made.request.targets
    for target_ms, estimate in (
        (targets.ttft_ms, made.estimates.ttft_s),
        (targets.tpot_ms, made.estimates.tpot_s),
    ):
        assert target_ms is None or getattr(estimate, targets.statistic) * 1000 <= target_ms


def test_the_memory_ledger_sums_to_the_device(made: Plan) -> None:
    assert sum(line.bytes for line in made.memory.ledger) == made.memory.device_bytes
    assert all(line.bytes >= 0 for line in made.memory.ledger)


def test_the_cost_is_the_sum_of_its_lines(made: Plan) -> None:
    assert abs(sum((line.usd_per_hour for line in made.cost.lines), Decimal(0)) - made.cost.usd_per_hour) < Decimal(
        "0.001"
    )


def test_every_band_holds_its_mean(made: Plan) -> None:
    for name in ("ttft_s", "tpot_s", "output_tokens_per_s", "requests_per_s"):
        estimate = getattr(made.estimates, name)
        assert 0 < estimate.low <= estimate.mean <= estimate.high
        assert estimate.source


def test_the_engine_holds_the_gpus_it_was_given_and_one_request_at_least(made: Plan) -> None:
    engine, placement = made.engine, made.placement
    assert engine.tp * engine.pp == max(1, placement.gpus_per_replica)
    assert placement.hosts * placement.gpus_per_host >= placement.replicas * placement.gpus_per_replica
    assert made.memory.kv_cache_tokens >= engine.max_model_len
    assert str(engine.max_model_len) in engine.args


def test_a_plan_comes_back_from_its_file_unchanged(made: Plan, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(made.to_json())
    assert Plan.load(path) == made.model_copy(update={"rejected": ()})


def test_a_host_that_wins_nothing_changes_no_file() -> None:
    dearest = max((price for price in FACTS.prices if price.item in FACTS.instances), key=lambda one: one.usd_per_hour)
    new, much = "p99.48xlarge", dearest.usd_per_hour * 10
    host = FACTS.instances[dearest.item].model_copy(update={"id": new})
    price = dearest.model_copy(update={"item": new, "usd_per_hour": much, "region": "us-east-1"})
    facts = FACTS.model_copy(update={"instances": {**FACTS.instances, new: host}, "prices": (*FACTS.prices, price)})
    path = DEPLOYMENTS / "prod-qwen3-8b/request.toml"
    made, before = plan("prod-qwen3-8b", read_request(path), facts), planned(path)
    assert len(made.rejected) > len(before.rejected)
    assert made.to_json() == before.to_json()


def test_planning_twice_gives_the_same_bytes() -> None:
    assert planned(REQUESTS[0]).to_json() == planned(REQUESTS[0]).to_json()


def test_every_loser_has_a_reason_and_no_loser_that_meets_is_cheaper() -> None:
    made = planned(DEPLOYMENTS / "prod-qwen3-8b" / "request.toml")
    assert len(made.runners_up) == 3
    for loser in (*made.runners_up, *made.rejected):
        assert loser.reason, loser.candidate
        if loser.usd_per_hour is not None:
            assert loser.usd_per_hour >= made.cost.usd_per_hour


def test_every_instance_type_of_the_survey_is_chosen_or_rejected() -> None:
    made = planned(DEPLOYMENTS / "prod-qwen3-8b" / "request.toml")
    seen = " ".join([made.placement.host_type, *(loser.candidate for loser in (*made.runners_up, *made.rejected))])
    assert [instance for instance in FACTS.instances if instance not in seen] == []


def test_a_replica_is_to_hold_what_the_load_gives_each_of_those_that_carry_it() -> None:
    place, limits = Place(kind="aws-eks"), Limits(min_replicas=3, spare_replicas=1)
    clients = Load(concurrency=9, input_tokens=500, output_tokens=100)
    asked = Request(model="qwen3-8b", load=clients, place=place, limits=limits)
    assert plan("clients", asked, FACTS).serve.requests_per_replica == 5  # 9 on the 2 that carry
    rate = Load(request_rate=2.0, input_tokens=500, output_tokens=100)
    made = plan("rate", Request(model="qwen3-8b", load=rate, place=place), FACTS)
    assert made.placement.replicas == 1
    assert made.estimates.tpot_s is not None
    answer_s = made.estimates.ttft_s.mean + 100 * made.estimates.tpot_s.mean
    assert made.serve.requests_per_replica - 1 < 2.0 * answer_s <= made.serve.requests_per_replica


def test_4_bit_weights_are_taken_only_when_nothing_before_them_meets() -> None:
    load = Load(concurrency=1, input_tokens=500, output_tokens=100)
    place = Place(kind="home", host="home-1x-rtx-4090")
    small = plan("small", Request(model="qwen3-8b", load=load, place=place), FACTS)
    large = plan(
        "large", Request(model="qwen3-14b", load=load, place=place, limits=Limits(max_model_len=16_384)), FACTS
    )
    assert small.model.precision == "bf16"
    assert large.model.precision in ("fp8", "awq")
    forced = plan("forced", Request(model="Qwen/Qwen3-8B-AWQ", load=load, place=place), FACTS)
    assert (forced.model.precision, forced.model.repository) == ("awq", "Qwen/Qwen3-8B-AWQ")


def test_a_tighter_target_never_makes_a_plan_cheaper() -> None:
    load = Load(concurrency=32, input_tokens=1000, output_tokens=200)
    costs = [
        plan(
            "t", Request(model="qwen3-8b", load=load, targets=Targets(tpot_ms=t), place=Place(kind="aws-eks")), FACTS
        ).cost.usd_per_hour
        for t in (200, 60, 30, 15)
    ]
    assert all(later > earlier - CENT for earlier, later in pairwise(costs))


def test_replicas_asked_for_availability_are_planned() -> None:
    made = plan(
        "two",
        Request(
            model="qwen3-8b",
            load=Load(concurrency=8, input_tokens=500, output_tokens=100),
            place=Place(kind="aws-eks"),
            limits=Limits(min_replicas=2),
        ),
        FACTS,
    )
    assert made.placement.replicas >= 2


PLACES: list[dict[str, object]] = [
    {"kind": "aws-eks"},
    {"kind": "aws-ec2"},
    {"kind": "home", "host": "home-1x-rtx-4090"},
    {"kind": "home", "host": "home-2x-rtx-4090"},
    {"kind": "home"},
    {"kind": "rented"},
    {"kind": "local"},
]
LOADS = st.fixed_dictionaries(
    {"input_tokens": st.integers(1, 50_000), "output_tokens": st.integers(1, 8_000)},
    optional={"prefix_hit_rate": st.sampled_from([0, 0.5, 1])},
).flatmap(
    lambda tokens: st.one_of(
        st.sampled_from([1, 16, 500, 5000]).map(lambda concurrency: {**tokens, "concurrency": concurrency}),
        st.sampled_from([0.001, 1.0, 50.0]).map(lambda rate: {**tokens, "request_rate": rate}),
    )
)
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "engine": st.sampled_from(["vllm", "sglang"]),
        "gpus": st.sampled_from([["A10G"], ["H100-SXM", "A100-40GB-SXM"], ["RTX 4090"], []]),
        "precision": st.sampled_from(["bf16", "fp16", "fp8", "awq", "nvfp4"]),
        "kv_cache_dtype": st.sampled_from(["auto", "fp8"]),
        "usd_per_hour": st.sampled_from([0.5, 20.0]),
        "min_replicas": st.sampled_from([1, 8]),
        "spare_replicas": st.sampled_from([0, 2]),
        "spare_share": st.sampled_from([0.0, 0.4]),
    },
)


@settings(max_examples=25)
@given(model=st.sampled_from(sorted(FACTS.models)), load=LOADS, place=st.sampled_from(PLACES), limits=LIMITS)
def test_any_request_is_planned_soundly_or_refused_in_sentences(
    model: str, load: dict[str, object], place: dict[str, object], limits: dict[str, object]
) -> None:
    if place["kind"] == "local":
        limits = {"engine": "vllm-cpu"}
    elif place["kind"].startswith("aws"):  # type: ignore[attr-defined]
        limits = {"gpus": ["A10G", "L40S", "H100-SXM"], **limits}
    request = Request.model_validate_json(json.dumps({"model": model, "load": load, "place": place, "limits": limits}))
    made, problems = plan_or_problems(request)
    assert all(problem.strip() for problem in problems)
    if made is None:
        assert problems
        return
    assert made.memory.kv_cache_tokens >= request.load.input_tokens + request.load.output_tokens
    assert made.engine.max_num_seqs <= made.engine.max_num_batched_tokens
    assert made.cost.usd_per_hour <= Decimal(str(limits.get("usd_per_hour", 1e9)))
    assert limits.get("precision") in (None, made.model.precision)


def plan_or_problems(request: Request) -> tuple[Plan | None, tuple[str, ...]]:
    try:
        return plan("any", request, FACTS), ()
    except KitError as refusal:
        return None, refusal.problems


def test_a_target_within_the_band_is_warned_of(made: Plan) -> None:
    warned = {warning[:4] for warning in made.warnings if "measure before you rely on it" in warning}
    over = {
        name
        for name, target_ms, estimate in (
            ("TTFT", made.request.targets.ttft_ms, made.estimates.ttft_s),
            ("TPOT", made.request.targets.tpot_ms, made.estimates.tpot_s),
        )
        if target_ms is not None and estimate is not None and estimate.high * 1000 > target_ms and made.placement.gpu
    }
    assert warned == over


@pytest.mark.parametrize(("concurrency", "replicas"), [(1, 1), (1, 4), (5, 4), (8, 4)])
def test_replicas_answer_no_more_requests_than_are_in_flight(concurrency: int, replicas: int) -> None:
    """Little's law: what is in flight is the rate times the time of a request, however many replicas stand by."""
    load = Load(concurrency=concurrency, input_tokens=1000, output_tokens=200)
    request = Request(model="qwen3-8b", load=load, place=Place(kind="aws-eks"), limits=Limits(min_replicas=replicas))
    made = plan("x", request, FACTS)
    seen = made.estimates
    assert seen.tpot_s is not None
    request_s = seen.ttft_s.mean + 199 * seen.tpot_s.mean
    assert seen.requests_per_s.mean * request_s == pytest.approx(concurrency, rel=0.02)
    hourly_tokens = seen.output_tokens_per_s.mean * 3600
    assert float(made.cost.usd_per_million_output_tokens or 0) == pytest.approx(
        float(made.cost.usd_per_hour) / hourly_tokens * 1e6, rel=0.001
    )


def test_what_lost_says_nothing_of_tokens_where_none_are_generated() -> None:
    load = Load(concurrency=8, input_tokens=1000)
    request = Request(model="qwen3-embedding-8b", load=load, place=Place(kind="aws-eks"))
    made = plan("x", request, FACTS)
    assert made.runners_up
    assert not [lost.reason for lost in (*made.runners_up, *made.rejected) if "TPOT" in lost.reason]


def test_an_answer_of_one_token_meets_any_tpot() -> None:
    load = Load(concurrency=4, input_tokens=100, output_tokens=1)
    free = Request(model="qwen3-8b", load=load, place=Place(kind="aws-eks"))
    tight = free.model_copy(update={"targets": Targets(tpot_ms=1)})
    assert plan("x", tight, FACTS).placement == plan("x", free, FACTS).placement


def test_a_fraction_of_a_cent_of_disk_is_no_reason_for_fewer_bits() -> None:
    load = Load(concurrency=4, input_tokens=512, output_tokens=128)
    request = Request(model="qwen3-1.7b", load=load, place=Place(kind="aws-eks"), limits=Limits(gpus=("L4",)))
    made = plan("x", request, FACTS)
    assert made.model.precision == "bf16"
    same = [
        loser
        for loser in (*made.runners_up, *made.rejected)
        if "at the same price to a cent, in a lower precision" in loser.reason
    ]
    assert any(" fp8," in loser.candidate and (loser.usd_per_hour or 0) < made.cost.usd_per_hour for loser in same)


@pytest.mark.parametrize(("load", "warned"), [({"concurrency": 16}, True), ({"request_rate": 1.0}, False)])
def test_a_tail_of_clients_that_start_at_once_is_said_to_be_the_starts(load: dict[str, float], warned: bool) -> None:
    targets = Targets(ttft_ms=30_000, statistic="p95")
    whole = Load.model_validate({**load, "input_tokens": 1024, "output_tokens": 256})
    made = plan("x", Request(model="qwen3-8b", load=whole, place=Place(kind="aws-eks"), targets=targets), FACTS)
    assert any("TTFT p95 is that of the start" in warning for warning in made.warnings) == warned


@pytest.mark.parametrize(
    ("place", "gpu", "off"),
    [
        (Place(kind="home", host="home-2x-rtx-4090"), "RTX 4090", True),  # no NVLink
        (Place(kind="home", host="home-2x-rtx-3090"), "RTX 3090", True),  # only by a bridge
        (Place(kind="aws-eks"), "H100 SXM", False),
    ],
)
def test_the_engines_own_all_reduce_is_left_to_cards_that_all_have_nvlink(place: Place, gpu: str, off: bool) -> None:
    card = FACTS.gpu(gpu).id
    model = "qwen3-32b" if place.host else "qwen3-235b-a22b"
    load = Load(concurrency=1, input_tokens=512, output_tokens=64)
    made = plan("two", Request(model=model, load=load, place=place, limits=Limits(gpus=(card,))), FACTS)
    assert made.engine.tp > 1
    assert ("--disable-custom-all-reduce" in made.engine.args) == off
