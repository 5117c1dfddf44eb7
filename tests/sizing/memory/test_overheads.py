"""What lies beside weights and KV cache, item by item against what engines logged."""

from __future__ import annotations

from typing import Any

import pytest

from sizing.engine.settings import Settings
from sizing.engine.setup import Setup, resolve
from sizing.facts.catalogue import load_facts
from sizing.facts.memory_rules import vllm_era
from sizing.memory.overheads import Overhead, overhead, runs_v2
from sizing.units import GIB, MIB

FACTS = load_facts()


def setup(model: str, gpu: str = "L40S", version: str = "0.32.0", **asked: Any) -> Setup:
    return resolve(
        FACTS.models[model], "bf16", FACTS.gpu(gpu), engine="vllm", engine_version=version, asked=Settings(**asked)
    )


def of(model: str, gpu: str = "L40S", version: str = "0.32.0", **asked: Any) -> Overhead:
    return overhead(setup(model, gpu, version, **asked))


def test_rotary_tables_hold_every_position_four_times_over_for_images() -> None:
    """Logged weights less the parameters: 0.01 GiB for Qwen3-8B, 0.12 for Qwen3.5-27B (H200, vLLM 0.26.0)."""
    assert of("qwen3-8b").rotary == 40_960 * 128 * 2
    assert of("qwen3.5-27b").rotary == 4 * 262_144 * 64 * 2
    assert of("qwen3-8b", max_model_len=131_072).rotary == 131_072 * 128 * 2


@pytest.mark.parametrize(
    ("model", "version", "seqs", "gib"),
    [
        ("qwen3-32b", "0.11.0", 1024, 5.64),  # m064
        ("qwen3-0.6b", "0.11.0", 1024, 5.56),  # same source, at lengths 16000 and 32000
        ("qwen2.5-7b", "0.8.5", 256, 1.44),  # m124
        ("qwen3-8b", "0.19.1", 256, 0.59),  # m042, with 0.22 GiB outside torch
    ],
)
def test_activation_is_what_the_log_says(model: str, version: str, seqs: int, gib: float) -> None:
    gpu = "H100" if seqs == 1024 else "A100-40"
    assert of(model, gpu, version, max_num_seqs=seqs).activation / GIB == pytest.approx(gib, rel=0.035)


def test_the_sampler_no_longer_sorts_logits_from_0_17_on() -> None:
    assert of("qwen3-8b", version="0.16.0").activation > 2 * of("qwen3-8b", version="0.17.0").activation


def test_one_forward_pass_rules_where_sequences_are_few() -> None:
    assert of("qwen3-8b", version="0.19.1", max_num_seqs=1).activation == 2048 * 3 * (12_288 + 4096) * 2


def test_encoding_an_image_takes_what_the_starts_of_qwen3_6_took() -> None:
    """m104 and m115: 1.86 GiB at a peak that text alone does not reach."""
    eager: dict[str, Any] = {"gpu": "RTX 5090", "version": "0.26.0", "max_model_len": 32_768, "enforce_eager": True}
    assert of("qwen3.6-27b", **eager).activation / GIB == pytest.approx(1.86, rel=0.01)
    assert of("qwen3.6-27b", **eager, text_only=True).activation / GIB < 1


def test_a_longer_video_is_profiled_only_by_families_whose_frames_grow_with_the_context() -> None:
    short, long = (of("qwen2.5-vl-7b", max_model_len=length).activation for length in (8192, 32_768))
    assert long == 2 * short
    short, long = (of("qwen3-vl-8b", max_model_len=length).activation for length in (8192, 32_768))
    assert long == short


@pytest.mark.parametrize(
    ("model", "version", "second"),
    [
        ("qwen3-8b", "0.21.0", False),
        ("qwen3-8b", "0.22.0", True),
        ("qwen2.5-7b", "0.24.0", False),
        ("qwen2.5-7b", "0.25.0", True),
        ("qwen3-vl-8b", "0.25.0", True),
        ("qwen3-30b-a3b", "0.26.0", False),  # log: "Using V2 Model Runner" is absent
        ("qwen3.5-27b", "0.28.0", False),
        ("qwen3.5-27b", "0.29.0", True),
    ],
)
def test_the_second_model_runner_took_over_family_by_family(model: str, version: str, second: bool) -> None:
    assert runs_v2(vllm_era(version, 8.9), FACTS.models[model]) is second


def test_sampling_is_shared_between_ranks_from_0_29_on() -> None:
    asked: dict[str, Any] = {"gpu": "H100", "enforce_eager": True, "max_num_batched_tokens": 1024}
    alone, shared = (of("qwen3-0.6b", tp=tp, **asked).activation for tp in (1, 8))
    assert shared < alone / 4
    before = of("qwen3-0.6b", version="0.28.0", tp=8, **asked).activation
    assert before == of("qwen3-0.6b", version="0.28.0", tp=1, **asked).activation


def test_graphs_shrink_with_the_sizes_that_few_sequences_need() -> None:
    many, few, one = (of("qwen3-8b", max_num_seqs=seqs).graphs for seqs in (256, 16, 1))
    assert many > 4 * few > 4 * one
    assert one == round(0.05 * GIB)
    assert of("qwen3-8b", version="0.11.0", max_num_seqs=1).graphs == of("qwen3-8b", version="0.11.0").graphs


def test_flashinfer_takes_its_workspace_only_where_it_is_the_kernel() -> None:
    fp8 = {"kv_cache_dtype": "fp8"}
    assert of("qwen3-8b", **fp8).non_torch - of("qwen3-8b").non_torch == 394 * MIB
    assert of("qwen3-8b", gpu="H100", **fp8).non_torch == of("qwen3-8b", gpu="H100").non_torch
