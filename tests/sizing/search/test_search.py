"""
The search against every possibility: no host, layout, precision, setting or number of replicas carries a request for
less than 95 % of what the search asks. The other side knows nothing of bisection, pruning or the order of settings.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest

from sizing.errors import KitError, UnknownFact, Unsupported
from sizing.facts.catalogue import Facts, load_facts
from sizing.facts.place import Price
from sizing.hosts.candidates import Candidate, candidates, hosts, tiers
from sizing.hosts.cost import place_lines
from sizing.hosts.home import every_home_host, home_host
from sizing.hosts.room import checkpoint_bytes, disk_gib, pod, replica_memory_bytes
from sizing.plan.files import render
from sizing.plan.plan import Plan
from sizing.planning.planning import plan
from sizing.request.request import Limits, Load, Place, Request, Targets
from sizing.search.loaded import Replica, loaded
from sizing.search.question import Question, question
from sizing.search.search import search
from sizing.search.share import Share
from sizing.search.tuning import Layout, Replicas
from sizing.units import GIB

FACTS = load_facts()
REGRET = Decimal("1.05")
MODELS = ("qwen2.5-1.5b", "qwen3-8b", "qwen2.5-vl-7b", "qwen3-32b", "qwen3-30b-a3b", "qwen3.5-35b-a3b", "qwen2.5-72b")
MOST_REPLICAS = 256


def asked(number: int) -> Question:
    """The *number*-th request of a fixed sample: models, loads, targets and spare differ."""
    pick = random.Random(number)
    rate = pick.random() < 0.3
    load = Load(
        concurrency=None if rate else pick.choice([1, 8, 24, 64]),
        request_rate=pick.choice([0.2, 2.0, 6.0]) if rate else None,
        input_tokens=pick.choice([200, 1000, 4000]),
        output_tokens=pick.choice([64, 256]),
        prefix_hit_rate=pick.choice([0.0, 0.5]),
    )
    targets = Targets(ttft_ms=pick.choice([None, 800.0, 3000.0]), tpot_ms=pick.choice([None, 25.0, 60.0]))
    limits = Limits(spare_replicas=pick.choice([0, 0, 1]), engine=pick.choice(["vllm", "sglang"]))
    request = Request(model=pick.choice(MODELS), load=load, targets=targets, place=Place(kind="aws-eks"), limits=limits)
    return question(request, FACTS)


def usd_per_hour(one: Question, candidate: Candidate, replicas: int) -> Decimal:
    weight_bytes = checkpoint_bytes(one.model, candidate.precision)
    disk = disk_gib(one.engine, weight_bytes, candidate.fullest(replicas))
    lines = place_lines(FACTS, one.request.place, candidate.host.type, candidate.hosts_for(replicas), disk)
    return sum((line.usd_per_hour for line in lines), Decimal(0))


def carries(one: Question, candidate: Candidate, replicas: int) -> bool:
    """Whether any settings of the engine let so many replicas of *candidate* meet every target."""
    shape = Layout(candidate.host.gpu, candidate.tp, candidate.precision, candidate.kv_cache_dtype)
    share = Share(one.request.load.concurrency, one.request.load.request_rate).of(replicas)
    replica, spare = Replicas(one), one.request.limits.spare_replicas
    for tuning in replica.tunings(share):
        result = replica.tried(shape, share, tuning)
        if isinstance(result, Replica):
            need = replica_memory_bytes(one.engine, candidate.tp, result.memory.host_memory_bytes)
            host = candidate.host
            part = pod(host.usable_memory_bytes, host.vcpu, candidate.tp, candidate.fullest(replicas + spare), 0)
            return need <= part.memory_bytes
    return False


def cheaper(one: Question, chosen: Candidate, limit: Decimal) -> Iterator[str]:
    """Every way of the first tiers, up to that of *chosen*, that costs less than *limit*."""
    usable, _ = hosts(FACTS, one.request)
    spare = one.request.limits.spare_replicas
    done: dict[tuple[object, ...], bool] = {}
    for choices in tiers(FACTS, one.request, one.model):
        for candidate in candidates(FACTS, usable, choices):
            if not isinstance(candidate, Candidate):
                continue
            for replicas in range(1, MOST_REPLICAS):
                if usd_per_hour(one, candidate, replicas + spare) >= limit:
                    break
                key = (
                    candidate.host.gpu.id,
                    candidate.host.usable_memory_bytes // candidate.fullest(replicas + spare) // GIB,
                    candidate.tp,
                    candidate.precision,
                    candidate.kv_cache_dtype,
                    replicas,
                )
                if key not in done:
                    done[key] = carries(one, candidate, replicas)
                if done[key]:
                    yield f"{candidate}, {replicas} replicas"
        if (chosen.precision, chosen.kv_cache_dtype) in {(precision, kv) for precision, _, kv in choices}:
            return


@pytest.mark.parametrize("number", range(12))
def test_nothing_carries_a_request_for_less_than_95_percent_of_the_plan(number: int) -> None:
    one = asked(number)
    best = search(one).options[0]
    assert list(cheaper(one, best.candidate, best.cost.usd_per_hour / REGRET)) == []


def test_every_tuning_of_the_grid_is_offered() -> None:
    one = asked(0)
    searched = one.engine.searched
    assert searched is not None
    offered = set(Replicas(one).tunings(Share(100, None)))
    assert {tuning.max_num_seqs for tuning in offered} == {16, 32, 64, 128}
    assert {tuning.max_num_batched_tokens for tuning in offered} == set(searched.max_num_batched_tokens)
    assert all(tuning.max_num_seqs <= tuning.max_num_batched_tokens for tuning in offered)


def planned(model: str = "qwen3-8b", **parts: object) -> Plan:
    load = {"concurrency": 16, "input_tokens": 1024, "output_tokens": 256}
    given = {"model": model, "load": load, "place": {"kind": "aws-eks"}, **parts}
    return plan("any", Request.model_validate_json(json.dumps(given)), FACTS)


def test_a_model_that_no_host_holds_is_laid_over_several() -> None:
    made = planned("qwen3.8-2.4t-a95b")
    placement = made.placement
    assert placement.hosts_per_replica == made.engine.pp > 1
    assert placement.gpus_per_replica == placement.hosts_per_replica * placement.gpus_per_host
    assert placement.hosts == placement.replicas * placement.hosts_per_replica
    assert "--pipeline-parallel-size" in made.engine.args
    assert any("network" in warning for warning in made.warnings)
    values = render(made)["values.yaml"]
    assert f"  count: {placement.gpus_per_host}\n  hosts: {placement.hosts_per_replica}\n" in values
    assert any("LeaderWorkerSet" in warning for warning in made.warnings)


def test_a_model_that_one_host_holds_is_never_laid_over_several() -> None:
    assert planned("qwen3-235b-a22b").placement.hosts_per_replica == 1


def test_spare_replicas_come_on_top_of_those_that_carry_the_load() -> None:
    plain = planned(targets={"tpot_ms": 40}).placement
    spared = planned(targets={"tpot_ms": 40}, limits={"spare_replicas": 2, "gpus": [plain.gpu]}).placement
    assert spared.replicas == plain.replicas + 2


def test_replicas_of_one_host_share_its_memory() -> None:
    load, place = Load(concurrency=4, input_tokens=500, output_tokens=100), Place(kind="aws-eks")
    one = question(Request(model="qwen3-8b", load=load, place=place, limits=Limits(min_replicas=4)), FACTS)
    [host] = [host for host in hosts(FACTS, one.request)[0] if host.type == "g6.12xlarge"]
    found = search(one, [replace(host, usable_memory_bytes=24 * GIB)], compared=None)
    layouts = {(option.candidate.tp, option.hosts) for option in found.options}
    assert layouts == {(2, 2), (4, 4)}  # with one GPU each, all four would be on one host
    reasons = {lost.reason for lost in found.rejected if lost.candidate.endswith("TP 1")}
    assert reasons == {"a replica needs 8 GiB of host memory; of 4 on a host each gets 5 GiB"}


def test_capacity_kept_free_is_there_when_the_load_grows_into_it() -> None:
    roomy = planned(targets={"tpot_ms": 40}, limits={"spare_share": 0.5})
    grown = {"concurrency": 32, "input_tokens": 1024, "output_tokens": 256}
    assert roomy.placement.replicas == planned(load=grown, targets={"tpot_ms": 40}).placement.replicas
    assert roomy.cost.usd_per_hour == planned(load=grown, targets={"tpot_ms": 40}).cost.usd_per_hour
    assert roomy.estimates.tpot_s is not None
    assert roomy.estimates.tpot_s.mean < 0.040


def test_a_planned_rate_is_below_the_rate_that_saturates() -> None:
    made = planned(load={"request_rate": 5.0, "input_tokens": 1024, "output_tokens": 256})
    assert made.estimates.saturation_requests_per_s.mean >= 5.0


def test_more_requests_than_saturate_wait_and_are_answered_no_faster() -> None:
    made = planned(limits={"gpus": ["L4"]})
    full = made.estimates.saturation_concurrency
    one = question(made.request, FACTS)
    best = search(one).options[0]
    at_full, beyond = (loaded(one, best.setup, best.memory, Share(clients, None)) for clients in (full, 2 * full))
    assert (at_full.saturated, beyond.saturated) == (False, True)
    assert beyond.requests_per_s.mean == pytest.approx(at_full.requests_per_s.mean, rel=0.05)
    assert beyond.ttft_s.mean > 2 * at_full.ttft_s.mean


def test_a_home_without_a_host_names_the_cheapest_that_meets() -> None:
    made = planned(place={"kind": "home"}, targets={"tpot_ms": 40})
    named = planned(place={"kind": "home", "host": made.placement.host_type}, targets={"tpot_ms": 40})
    assert made.placement.hosts == 1
    assert made.cost == named.cost
    assert any(made.placement.host_type in warning for warning in made.warnings)
    assert not any("left open" in warning for warning in named.warnings)


def test_home_hosts_of_1_to_8_cards_are_known_by_rule_and_their_supply_carries_them() -> None:
    counts = {host.gpu_count for host in every_home_host(FACTS) if host.gpu == "RTX 3090"}
    assert counts == {1, 2, 4, 8}
    for host in every_home_host(FACTS):
        assert host == home_host(FACTS, host.id)
        assert host.psu_w > host.gpu_count * host.power_limit_w_per_gpu
        assert host.idle_w < host.load_w


def test_a_rented_card_is_named_with_its_price_and_not_built() -> None:
    made = planned(place={"kind": "rented"}, targets={"tpot_ms": 40})
    rental = next(rental for rental in FACTS.rentals if rental.id == made.placement.host_type)
    assert made.cost.usd_per_hour == rental.usd_per_hour * made.placement.hosts
    assert made.cost.prices_dated == rental.dated.isoformat()
    with pytest.raises(Unsupported, match="is rented"):
        render(made)


def test_a_spot_price_is_used_only_where_a_row_has_it() -> None:
    request = Request(
        model="qwen3-8b",
        load=Load(concurrency=1, input_tokens=100, output_tokens=100),
        place=Place(kind="aws-eks", purchase="spot"),
    )
    with pytest.raises(UnknownFact, match=r"a spot price in us-east-1; not one is known.*prices\.csv"):
        plan("spot", request, FACTS)
    row = Price.model_validate(
        {**FACTS.prices[0].model_dump(), "item": "g6.2xlarge", "purchase": "spot", "usd_per_hour": "0.4"}
    )
    known = {name: getattr(FACTS, name) for name in Facts.model_fields}
    made = plan("spot", request, Facts(**{**known, "prices": (*FACTS.prices, row)}))
    assert (made.placement.host_type, made.placement.purchase) == ("g6.2xlarge", "spot")
    assert made.cost.lines[0].usd_per_hour == Decimal("0.4")
    with pytest.raises(Unsupported, match="on demand"):
        render(made)


@pytest.mark.parametrize("model", sorted(FACTS.models))
def test_every_model_has_a_plan_on_aws_or_a_reason(model: str) -> None:
    problems: tuple[str, ...] = ()
    made = None
    try:
        made = planned(model)
    except KitError as refusal:
        problems = refusal.problems
    assert (made is None) == bool(problems)
    assert all(FACTS.models[model].name in problem for problem in problems)
    assert made is None or made.cost.usd_per_hour > 0


def test_what_a_budget_rules_out_is_named_by_the_cheapest_host_that_holds_the_model() -> None:
    load = Load(concurrency=4, input_tokens=500, output_tokens=100)
    limits = Limits(precision="fp8", usd_per_hour=5)
    request = Request(model="qwen3-235b-a22b", load=load, place=Place(kind="aws-eks"), limits=limits)
    found = search(question(request, FACTS))
    free = request.model_copy(update={"limits": Limits(precision="fp8")})
    cheapest = search(question(free, FACTS)).options[0]
    assert not found.options
    assert found.nearest is not None
    assert found.nearest.candidate == str(cheapest.candidate)
    assert "the budget is 5 $/h" in found.nearest.reason


def test_a_budget_of_exactly_the_price_is_kept() -> None:
    load, place = Load(concurrency=4, input_tokens=500, output_tokens=100), Place(kind="home", host="home-1x-rtx-4090")
    free = Request(model="qwen3-8b", load=load, place=place)
    usd = plan("free", free, FACTS).cost.usd_per_hour
    kept, missed = (
        search(question(free.model_copy(update={"limits": Limits(usd_per_hour=float(budget))}), FACTS)).options
        for budget in (usd, usd - Decimal("0.0001"))
    )
    assert kept
    assert {option.cost.usd_per_hour for option in kept} == {usd}
    assert not missed


def test_a_tenth_of_the_capacity_in_use_is_ten_times_the_load() -> None:
    assert [Share(count, None).peak(0.9) for count in (1, 7, 100)] == [Share(10 * count, None) for count in (1, 7, 100)]
    assert Share(3, None).peak(0.2) == Share(4, None)


def on_cards_of_ones_own(count: int) -> Plan:
    """Qwen3-32B in 8 bits, which takes two of these cards, on a host with *count* of them and 64 GiB of memory."""
    host = home_host(FACTS, "home-2x-rtx-4090").model_copy(update={"id": "own", "gpu_count": count, "memory_gib": 64})
    load, limits = Load(concurrency=4, input_tokens=500, output_tokens=100), Limits(precision="fp8")
    request = Request(model="qwen3-32b", load=load, place=Place(kind="home", host="own"), limits=limits)
    return plan("own", request, FACTS.model_copy(update={"hosts": {"own": host}}))


@pytest.mark.parametrize(("count", "used"), [(2, 2), (3, 2), (5, 4), (7, 4)])
def test_a_replica_may_leave_cards_of_its_host_free(count: int, used: int) -> None:
    made = on_cards_of_ones_own(count)
    assert (made.engine.tp, made.placement.replicas, made.placement.gpus_per_host) == (used, 1, count)


def test_a_replica_alone_on_its_host_has_the_memory_of_all_of_it() -> None:
    assert on_cards_of_ones_own(8).pod.memory_bytes == on_cards_of_ones_own(2).pod.memory_bytes
