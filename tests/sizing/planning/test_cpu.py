"""Plans without a GPU: what memory bandwidth gives, and what no machine holds."""

from __future__ import annotations

import json

import pytest

from sizing.errors import BadRequest, DoesNotFit, UnknownFact, Unsupported
from sizing.facts.catalogue import load_facts
from sizing.plan.files import render
from sizing.plan.plan import Plan
from sizing.planning.planning import plan
from sizing.request.request import Load, Place, Request

FACTS = load_facts()


def planned(model: str = "qwen3-1.7b", **parts: object) -> Plan:
    given: dict[str, object] = {
        "model": model,
        "load": {"concurrency": 2, "input_tokens": 512, "output_tokens": 128},
        "place": {"kind": "home"},
        **parts,
        "limits": {"engine": "vllm-cpu", **(parts.get("limits") or {})},  # type: ignore[dict-item]
    }
    return plan("cpu", Request.model_validate_json(json.dumps(given)), FACTS)


def test_tokens_per_second_follow_from_the_memory_of_the_machine() -> None:
    made = planned("qwen2.5-0.5b", place={"kind": "home", "host": "home-i7-14700kf"})
    # 494,032,768 tied parameters x 2 bytes, read at 0.6 x 89.6 GB/s, and 2 ms a step
    assert made.estimates.tpot_s is not None
    assert made.estimates.tpot_s.mean == pytest.approx(988e6 / 53.76e9 + 0.002, rel=0.02)
    assert made.placement.gpu is None
    assert made.engine.env["VLLM_CPU_KVCACHE_SPACE"] == "1"


def test_a_cpu_plan_on_aws_takes_the_cheapest_machine_that_meets() -> None:
    easy = planned(place={"kind": "aws-eks"})
    hard = planned(place={"kind": "aws-eks"}, targets={"tpot_ms": 100})
    assert easy.placement.host_type == "m7i.2xlarge"
    assert hard.estimates.tpot_s is not None
    assert hard.estimates.tpot_s.mean <= 0.100
    assert hard.cost.usd_per_hour > easy.cost.usd_per_hour
    assert easy.runners_up


def test_a_slow_prefill_is_shared_over_more_machines() -> None:
    load = {"concurrency": 8, "input_tokens": 1024, "output_tokens": 128}
    made = planned(load=load, place={"kind": "aws-ec2"}, targets={"ttft_ms": 2000})
    assert made.placement.replicas > 1
    assert made.estimates.ttft_s.mean <= 2.0


def test_a_model_beyond_the_machine_is_refused_with_both_numbers() -> None:
    with pytest.raises(DoesNotFit, match=r"needs 68 GiB of memory \(61\.0 of weights.*has 62 for pods"):
        planned("qwen3-32b")


def test_beside_other_pods_no_engine_binds_its_threads() -> None:
    shared = planned(place={"kind": "local"}).engine.env
    assert (shared["VLLM_CPU_OMP_THREADS_BIND"], shared["OMP_NUM_THREADS"]) == ("nobind", "1")  # of 1500 m
    assert "OMP_NUM_THREADS" not in planned(place={"kind": "aws-eks"}).engine.env


def test_an_engine_lets_in_the_load_that_waits_by_plan() -> None:
    load = {"concurrency": 40, "input_tokens": 512, "output_tokens": 128}
    made = planned(place={"kind": "local"}, load=load)
    assert (made.engine.max_num_seqs, made.serve.requests_per_replica, made.serve.max_in_flight) == (16, 40, 80)


def test_only_the_machine_at_hand_is_written() -> None:
    assert render(planned(place={"kind": "local"}))
    with pytest.raises(Unsupported, match="home-i7-14700kf is not it"):
        render(planned())


def test_what_a_cpu_cannot_honour_is_refused_all_at_once() -> None:
    with pytest.raises(BadRequest) as refusal:
        planned(
            load={"request_rate": 1.0, "input_tokens": 10, "output_tokens": 10},
            limits={"precision": "fp8", "kv_cache_dtype": "fp8", "gpus": ["L4"]},
        )
    assert len(refusal.value.problems) == 4


def test_an_unknown_cpu_host_is_named_with_the_file_to_add() -> None:
    with pytest.raises(UnknownFact, match=r"there is home-i7-14700kf.*cpu-hosts/<name>\.toml"):
        planned(place={"kind": "home", "host": "home-1x-rtx-4090"})


def test_a_spare_machine_answers_nothing_more() -> None:
    load, place = {"concurrency": 1, "input_tokens": 512, "output_tokens": 128}, {"kind": "aws-eks"}
    alone, spare = (planned(load=load, place=place, limits={"min_replicas": replicas}) for replicas in (1, 2))
    assert spare.estimates.requests_per_s.mean == alone.estimates.requests_per_s.mean
    assert spare.estimates.saturation_requests_per_s.mean == 2 * alone.estimates.saturation_requests_per_s.mean


def test_this_machine_implies_the_cpu_engine_and_its_unknown_memory_is_said() -> None:
    load = Load(concurrency=1, input_tokens=512, output_tokens=128)
    made = plan("cpu", Request(model="qwen3-32b", load=load, place=Place(kind="local")), FACTS)
    assert made.engine.name == "vllm-cpu"
    assert any("takes 68 GiB of it, and the answer is TTFT" in warning for warning in made.warnings)
