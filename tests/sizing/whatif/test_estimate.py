"""The what-if surface: worked checks from engine logs, its errors, and nonsense that must not pass."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizing.errors import BadRequest
from sizing.facts.catalogue import load_facts
from sizing.planning.planning import plan
from sizing.request.request import Limits, Load, Place, Request
from sizing.whatif.estimate import answers, read_questions

FACTS = load_facts()
WORKED = [json.loads(line) for line in Path(__file__).with_name("worked-checks.jsonl").read_text().splitlines()]


def ask(**question: Any) -> dict[str, Any]:
    (line,) = answers(read_questions([json.dumps(question)]), FACTS)
    answer: dict[str, Any] = json.loads(line)
    return answer


@pytest.mark.parametrize("case", WORKED, ids=lambda case: case["question"]["id"])
def test_a_worked_check_from_an_engine_log_holds(case: dict[str, Any]) -> None:
    answer = ask(**case["question"])
    if "kv_cache_tokens" in case:
        assert answer["fits"], answer["reason"]
        assert answer["kv_cache_tokens"] == pytest.approx(case["kv_cache_tokens"], rel=case["within"]), case["why"]
    else:
        assert not answer["fits"], case["why"]
        assert answer["reason"]


def test_an_answer_has_every_field_of_the_interface() -> None:
    load = {"concurrency": 4, "input_tokens": 1000, "output_tokens": 100}
    answer = ask(id="x", model="Qwen/Qwen3-8B-AWQ", gpu="rtx4090", max_model_len=8192, load=load)
    assert answer["id"] == "x"
    assert (answer["model"], answer["precision"], answer["gpu"]) == ("qwen3-8b", "awq", "RTX 4090")
    assert answer["fits"] is True
    assert sum(line["bytes"] for line in answer["memory"]) == round(23.52 * 2**30)
    assert answer["kv_cache_tokens_low"] <= answer["kv_cache_tokens"] <= answer["kv_cache_tokens_high"]
    assert set(answer["ttft_ms"]) == {"mean", "p50", "p95", "p99", "low", "high", "basis", "source"}
    assert set(answer) == {
        "id", "model", "precision", "gpu", "engine", "engine_version", "fits", "reason", "weight_bytes_per_gpu",
        "kv_bytes_per_token_per_gpu", "state_bytes_per_sequence_per_gpu", "block_size", "kv_cache_bytes_per_gpu",
        "kv_cache_tokens", "kv_cache_tokens_low", "kv_cache_tokens_high", "max_concurrency", "host_memory_bytes",
        "notes", "memory", "settings", "ttft_ms", "tpot_ms", "output_tokens_per_s", "requests_per_s",
    }  # fmt: skip


def test_order_is_kept_and_refusals_are_answers() -> None:
    lines = [
        '{"id": "1", "model": "qwen3-8b", "gpu": "L4"}',
        "",
        '{"id": "2", "model": "no-such-model", "gpu": "L4"}',
        '{"id": "3", "model": "qwen3-8b", "gpu": "no-such-gpu"}',
        '{"id": "4", "model": "qwen-7b", "gpu": "L4", "engine_version": "0.33.0"}',
    ]
    found = [json.loads(line) for line in answers(read_questions(lines), FACTS)]
    assert [answer["id"] for answer in found] == ["1", "2", "3", "4"]
    assert [answer.get("error") for answer in found] == [None, "unknown-model", "unknown-gpu", "unsupported"]
    assert "sizing/data/models/" in found[1]["reason"]
    assert "sizing/data/gpus/" in found[2]["reason"]


def test_without_a_card_only_memory_is_answered_and_it_says_so() -> None:
    load = {"concurrency": 1, "input_tokens": 10, "output_tokens": 10}
    answer = ask(model="qwen3-8b", device_memory_gib=79.18, load=load)
    assert answer["gpu"] is None
    assert "ttft_ms" not in answer
    assert any("no gpu was named" in note for note in answer["notes"])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("not json", "line 1"),
        ('["qwen3-8b"]', "line 1"),
        ('{"model": "qwen3-8b"}', "line 1: give gpu, or device_memory_gib"),
        ('{"model": "qwen3-8b", "gpu": "L4", "colour": "red"}', "line 1: colour"),
        ('{"model": "qwen3-8b", "gpu": "L4", "tp": -1}', "line 1: tp"),
        ('{"model": "qwen3-8b", "gpu": "L4", "tp": "2"}', "line 1: tp"),
        ('{"model": "qwen3-8b", "gpu": "L4", "gpu_memory_utilization": NaN}', "line 1"),
        ('{"model": "qwen3-8b", "gpu": "L4", "load": {"input_tokens": 1, "output_tokens": 1}}', "line 1: load"),
    ],
)
def test_a_line_that_is_no_question_is_named_with_its_number(line: str, says: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        read_questions([line])
    assert says in refusal.value.problems[0]


def test_every_bad_line_is_reported_at_once() -> None:
    with pytest.raises(BadRequest) as refusal:
        read_questions(["{}", '{"model": "qwen3-8b", "gpu": "L4"}', "oops"])
    assert {problem.split(":")[0] for problem in refusal.value.problems} == {"line 1", "line 3"}


@pytest.mark.parametrize(
    ("model", "output_tokens", "says"),
    [("qwen3-embedding-0.6b", 0, None), ("qwen3-embedding-0.6b", 9, "taken for 0"), ("qwen3-8b", 0, "at least 1")],
)
def test_a_model_that_generates_nothing_is_asked_for_no_tokens(
    model: str, output_tokens: int, says: str | None
) -> None:
    load = {"concurrency": 4, "input_tokens": 512, "output_tokens": output_tokens}
    line = json.dumps({"model": model, "gpu": "L4", "max_model_len": 8192, "load": load})
    found = json.loads(next(answers(read_questions([line]), FACTS)))
    assert says is None or says in f"{found.get('notes')} {found.get('reason')}"
    if "error" not in found:
        assert found["tpot_ms"] is None
        assert found["ttft_ms"]["mean"] > 0


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for part in value.values() for number in numbers(part)]
    if isinstance(value, list):
        return [number for part in value for number in numbers(part)]
    return [] if isinstance(value, bool | str) or value is None else [value]


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "model": st.sampled_from(sorted(FACTS.models)) | st.text(max_size=20),
            "gpu": st.sampled_from(sorted(FACTS.gpus)) | st.text(max_size=20),
        },
        optional={
            "precision": st.sampled_from(["bf16", "fp16", "fp8", "int8", "awq", "gptq-int4", "nvfp4", "w4a16"]),
            "tp": st.sampled_from([1, 2, 3, 4, 8, 1024]),
            "pp": st.sampled_from([1, 2, 7, 24]),
            "engine": st.sampled_from(["vllm", "sglang"]),
            "engine_version": st.sampled_from(["0.6.6", "0.11.0", "0.4.6", "0.5.19", "0.33.0", "9.9", "x"]),
            "max_model_len": st.sampled_from([1, 16, 8192, 131_072, 10_000_000]),
            "max_num_seqs": st.sampled_from([1, 256, 1_000_000]),
            "max_num_batched_tokens": st.sampled_from([1, 2048, 10_000_000]),
            "gpu_memory_utilization": st.sampled_from([0.001, 0.5, 1.0]),
            "kv_cache_dtype": st.sampled_from(["auto", "fp8"]),
            "speculative_tokens": st.sampled_from([0, 1, 64]),
            "kv_cache_gib": st.sampled_from([0.01, 8.0, 1e6]),
            "device_memory_gib": st.sampled_from([1.0, 23.52, 10_000.0]),
            "load": st.fixed_dictionaries(
                {
                    "concurrency": st.sampled_from([1, 16, 100_000]),
                    "input_tokens": st.sampled_from([1, 1000, 100_000]),
                    "output_tokens": st.sampled_from([1, 200, 50_000]),
                }
            ),
        },
    )
)
def test_no_question_gets_a_nonsense_number(question: dict[str, Any]) -> None:
    answer = ask(**question)
    if "error" in answer:
        assert answer["reason"].strip()
        return
    outside_ledger = {name: value for name, value in answer.items() if name != "memory"}
    assert all(math.isfinite(number) and number >= 0 for number in numbers(outside_ledger)), answer
    assert answer["fits"] or answer["reason"]
    if answer["fits"]:
        assert all(line["bytes"] >= 0 for line in answer["memory"])


def test_a_nightly_is_answered_as_a_release_and_says_so() -> None:
    answer = ask(model="qwen3-8b", gpu="H100", engine="sglang", engine_version="nightly-dev-20260216-a1")
    assert answer["engine_version"] == "0.5.9"
    assert "nightly-dev-20260216-a1 is taken for the release 0.5.9" in answer["notes"]


def test_a_plan_and_a_what_if_of_its_settings_expect_the_same() -> None:
    """Also where the KV cache is full: a GPU of 24 GB does not hold 16 requests of 2000 + 4000 tokens to their end."""
    load = {"concurrency": 16, "input_tokens": 2000, "output_tokens": 4000}
    limits = Limits(gpus=("A10G",), precision="fp8")
    request = Request(model="qwen3-8b", load=Load.model_validate(load), place=Place(kind="aws-eks"), limits=limits)
    made = plan("x", request, FACTS)
    names = ("tp", "max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization")
    told_engine = {name: getattr(made.engine, name) for name in names}
    version = made.engine.version
    told = ask(model="qwen3-8b", precision="fp8", gpu="A10G", engine_version=version, load=load, **told_engine)
    for name in ("ttft", "tpot"):
        assert told[f"{name}_ms"]["mean"] == pytest.approx(getattr(made.estimates, f"{name}_s").mean * 1000, rel=1e-3)
