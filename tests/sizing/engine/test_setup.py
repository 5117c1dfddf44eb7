"""Defaults as each engine version chooses them, and what no engine could build."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.engine.cuts import tensor_parallel_sizes
from sizing.engine.settings import Settings
from sizing.engine.setup import Setup, resolve
from sizing.errors import BadRequest, Unsupported
from sizing.facts.catalogue import load_facts
from sizing.facts.fact import DATA
from sizing.facts.precision import Precision

FACTS = load_facts()
MODELS = sorted(FACTS.models)


def setup(
    model: str,
    gpu: str = "H100",
    version: str = "0.32.0",
    *,
    engine: Literal["vllm", "sglang"] = "vllm",
    precision: Precision = "bf16",
    **asked: Any,
) -> Setup:
    return resolve(
        FACTS.model(model)[0], precision, FACTS.gpu(gpu), engine=engine, engine_version=version, asked=Settings(**asked)
    )


@pytest.mark.parametrize(
    ("gpu", "version", "seqs", "batched", "utilization"),
    [
        ("RTX 4090", "0.32.0-cu129", 256, 2048, 0.92),
        ("A100-80GB-SXM", "0.32.0", 256, 2048, 0.92),
        ("H100", "0.20.0", 1024, 8192, 0.92),
        ("H100", "0.19.1", 1024, 8192, 0.90),
        ("B200", "0.33.0", 1024, 16384, 0.92),
        ("L40S", "0.6.6", 256, 32768, 0.90),  # V0 profiled a whole prompt
    ],
)
def test_vllm_chooses_its_defaults_by_card_and_version(
    gpu: str, version: str, seqs: int, batched: int, utilization: float
) -> None:
    found = setup("qwen2.5-7b", gpu, version, max_model_len=32768)
    chosen = (found.max_num_seqs, found.max_num_batched_tokens, found.gpu_memory_utilization)
    assert chosen == (seqs, batched, utilization)


@pytest.mark.parametrize(
    ("gpu", "version", "tp", "chunk", "fraction"),
    [
        ("H100", "0.5.16", 1, 8192, 0.83),  # measured
        ("RTX 3090", "0.4.6.post5", 1, 2048, 0.88),  # measured (m134)
        ("RTX 4090", "0.4.6.post5", 2, 2048, 0.87),
        ("RTX 4090", "0.5.5", 1, 2048, 0.847),
        ("RTX 4090", "0.5.23", 1, 4096, 0.701),
    ],
)
def test_sglang_chooses_its_fraction_by_card_and_version(
    gpu: str, version: str, tp: int, chunk: int, fraction: float
) -> None:
    found = setup("qwen3-8b", gpu, version, engine="sglang", tp=tp)
    assert found.max_num_batched_tokens == chunk
    assert found.gpu_memory_utilization == pytest.approx(fraction, abs=0.003)


def test_hybrids_cache_prefixes_by_default_only_after_0_26() -> None:
    assert not setup("qwen3.5-27b", version="0.26.0").prefix_caching
    assert setup("qwen3.5-27b", version="0.32.0").prefix_caching
    assert setup("qwen3-8b", version="0.26.0").prefix_caching


def test_the_context_defaults_to_the_native_length_and_may_reach_yarns() -> None:
    assert setup("qwen3-8b").max_model_len == 40_960
    assert setup("qwen3-8b", max_model_len=131_072).max_model_len == 131_072
    with pytest.raises(BadRequest, match=r"131073 is beyond the 131072 tokens .* 131072 works"):
        setup("qwen3-8b", max_model_len=131_073)


def test_every_contradiction_is_reported_at_once() -> None:
    with pytest.raises(BadRequest) as refused:
        setup("qwen2.5-7b", tp=8, pp=99, speculative_tokens=2, max_model_len=10**9)
    assert len(refused.value.problems) == 4


@pytest.mark.parametrize(
    ("model", "precision", "tp", "says"),
    [
        ("qwen2.5-7b", "bf16", 8, "28 attention heads.*tp 4 is the nearest"),
        ("qwen3-4b", "fp8", 8, "9728 feed-forward width.*multiples of 128.*tp 4 is the nearest"),
        ("qwen3.6-35b-a3b", "fp8", 8, "512 shared-expert width.*tp 4 is the nearest"),
        ("qwen1.5-moe-a2.7b", "gptq-int4", 8, "1408 expert width.*multiples of 32.*tp 4 is the nearest"),
        ("qwen2.5-vl-3b", "bf16", 8, "3420 vision feed-forward width.*tp 4 is the nearest"),
    ],
)
def test_a_cut_that_does_not_divide_names_the_nearest_that_does(
    model: str, precision: Precision, tp: int, says: str
) -> None:
    with pytest.raises(BadRequest, match=says):
        setup(model, precision=precision, tp=tp)


def test_what_vllm_could_not_build_is_refused_and_what_it_built_is_not() -> None:
    lines = [json.loads(line) for line in (DATA / "measurements" / "oracle.jsonl").read_text().splitlines()]
    variants: dict[str, Precision] = {"bf16": "bf16", "fp8": "fp8", "awq": "awq", "gptq": "gptq-int4"}
    wrong = []
    for line in lines:
        if "mm_encoder_tp_mode=data" in line["notes"]:
            continue
        sizes = tensor_parallel_sizes(
            FACTS.model(line["model"])[0],
            variants[line["variant"]],
            text_only="language_model_only" in line["notes"],
            expert_parallel="enable_expert_parallel" in line["notes"],
        )
        built = line["weight_bytes_per_rank"] is not None
        if built != (line["tp"] in sizes):
            wrong.append((line["model"], line["variant"], line["tp"], line.get("error")))
    assert sum(line["weight_bytes_per_rank"] is None for line in lines) == 31
    assert wrong == []


@pytest.mark.parametrize(
    ("model", "gpu", "engine", "version", "says"),
    [
        ("qwen-7b", "H100", "vllm", "0.32.0", "no longer serves Qwen-7B; the last version that did is 0.23.0"),
        ("qwen3-8b", "H100", "vllm", "0.8.4", "the first version that does is 0.8.5"),
        ("qwen-audio", "H100", "vllm", "0.32.0", "never served"),
        ("qwen3.5-9b", "T4", "vllm", "0.32.0", "compute capability 8.0; T4 has 7.5"),
        ("qwen3.8-flash-next", "H100", "sglang", "0.5.19", "the first version that does is 0.5.20"),
    ],
)
def test_a_model_that_a_version_does_not_serve_is_unsupported(
    model: str, gpu: str, engine: Literal["vllm", "sglang"], version: str, says: str
) -> None:
    with pytest.raises(Unsupported, match=says):
        setup(model, gpu, version, engine=engine)


def test_a_version_without_a_number_is_refused() -> None:
    with pytest.raises(BadRequest, match="'nightly' is not an engine version"):
        setup("qwen3-8b", version="nightly")


def test_a_model_without_pipeline_parallelism_refuses_stages() -> None:
    with pytest.raises(BadRequest, match="no pipeline parallelism"):
        setup("qwen3.8-flash-next", pp=2)


@given(st.sampled_from(MODELS), st.sampled_from(["bf16", "fp8", "awq", "nvfp4", "gptq-int8"]), st.integers(1, 64))
def test_the_nearest_size_named_is_itself_accepted(key: str, precision: Precision, tp: int) -> None:
    sizes = tensor_parallel_sizes(FACTS.models[key], precision)
    assert sizes[0] == 1
    assert list(sizes) == sorted(set(sizes))
    if tp in sizes:
        assert FACTS.models[key].shape.attention_heads % tp == 0


def test_a_default_never_goes_beyond_what_a_batch_holds() -> None:
    """vLLM 0.32.0 arg_utils.py: neither is refused, both shrink."""
    assert setup("qwen3-8b", "H100", "0.32.0", max_num_batched_tokens=512).max_num_seqs == 512
    assert setup("qwen3-8b", "H100", "0.32.0", max_num_seqs=2, max_model_len=1024).max_num_batched_tokens == 2048


def test_sglang_leaves_an_image_tower_its_share() -> None:
    """0.95 x (1 - 0.1 x ((1152 / 1024)^2 - 1)) of the fraction; a thinker's tower inside an omni model is not seen."""
    text = setup("qwen3-8b", "H100", "0.5.16", engine="sglang").gpu_memory_utilization
    image = setup("qwen3-vl-8b", "H100", "0.5.16", engine="sglang").gpu_memory_utilization
    omni = setup("qwen3-omni-30b-a3b", "H100", "0.5.16", engine="sglang").gpu_memory_utilization
    assert image == pytest.approx(text * 0.95 * 0.9734, abs=0.001)
    assert omni == text


def test_a_block_that_no_kernel_takes_is_refused_with_the_nearest_that_works() -> None:
    with pytest.raises(BadRequest, match=r"block_size 100 is no multiple of the 16 tokens .* 96 works"):
        setup("qwen3-8b", "L40S", "0.32.0", block_size=100)
    assert setup("qwen3-8b", "L40S", "0.32.0", block_size=64).block_size == 64
