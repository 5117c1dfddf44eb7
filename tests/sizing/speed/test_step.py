"""A step's time against hand calculation, and the ways it may never move."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sizing.engine.settings import Settings
from sizing.engine.setup import Setup, resolve
from sizing.facts.calibration import calibration
from sizing.facts.catalogue import load_facts
from sizing.speed.step import StepModel, arithmetic, tensor_flops

FACTS = load_facts()


def setup(model: str = "qwen3-8b", gpu: str = "H100-SXM", precision: str = "bf16", **asked: object) -> Setup:
    return resolve(
        FACTS.model(model)[0],
        precision,
        FACTS.gpu(gpu),
        engine="vllm",
        engine_version="0.32.0",
        asked=Settings(max_model_len=8192, **asked),  # type: ignore[arg-type]
    )


def test_a_lone_decode_reads_weights_at_the_measured_share_of_bandwidth() -> None:
    one = setup()
    share = calibration().constants("vllm", "0.32.0", one.gpu)["memory"]
    read_bytes = 2 * (6_945_767_424 + 151_936 * 4096)  # every matrix and the output head, two bytes each
    read_s = read_bytes / (3350e9 * share)
    fixed_s = StepModel.of(one).step_fixed_s + StepModel.of(one).engine_step_s
    assert StepModel.of(one).step_s(1, 0, 0, 0) == pytest.approx(read_s + fixed_s, rel=0.02)


def test_a_long_prompt_computes_at_the_measured_share_of_the_tensor_rate() -> None:
    one = setup()
    share = calibration().constants("vllm", "0.32.0", one.gpu)["gemm_bf16"]
    compute_s = 2 * 6_945_767_424 * 8192 / (989e12 * share)
    assert StepModel.of(one).step_s(0, 0, 8192, 0) == pytest.approx(compute_s, rel=0.12)


def test_attended_context_costs_its_keys_and_values() -> None:
    one = setup()
    step, share = StepModel.of(one), calibration().constants("vllm", "0.32.0", one.gpu)["kv"]
    per_token_bytes = 36 * 2 * 8 * 128 * 2
    grown = step.step_s(8, 80_000, 0, 0) - step.step_s(8, 0, 0, 0)
    assert grown == pytest.approx(80_000 * per_token_bytes / (3350e9 * share), rel=1e-6)


def test_more_gpus_than_kv_heads_read_copies_of_them() -> None:
    assert FACTS.models["qwen3-30b-a3b"].shape.kv_heads == 4
    alone, shared, copied = (StepModel.of(setup("qwen3-30b-a3b", tp=tp)).kv_token_s for tp in (1, 4, 8))
    assert copied == shared == pytest.approx(alone / 4)


def test_fp8_cache_halves_what_context_costs() -> None:
    step, packed = StepModel.of(setup()), StepModel.of(setup(kv_cache_dtype="fp8"))
    assert packed.kv_token_s == pytest.approx(step.kv_token_s / 2)


def test_a_decode_of_one_touches_only_its_own_experts() -> None:
    step = StepModel.of(setup("qwen3-30b-a3b"))
    few, many = step.step_s(1, 0, 0, 0), step.step_s(128, 0, 0, 0)
    assert step.expert_miss == pytest.approx(1 - 8 / 128)
    assert many - few > 0.8 * step.expert_read_s


@pytest.mark.parametrize(
    ("gpu", "weights", "done"),
    [
        ("A100-80GB-SXM", "fp8", "weight_only"),
        ("H100-SXM", "fp8", "fp8"),
        ("H100-SXM", "fp4", "weight_only"),
        ("B200-SXM", "fp4", "fp4"),
        ("RTX 4090", "bf16", "bf16"),
    ],
)
def test_cards_without_a_number_format_unpack_it_to_16_bit(gpu: str, weights: str, done: str) -> None:
    assert arithmetic(weights, FACTS.gpu(gpu)) == done  # type: ignore[arg-type]


def test_a_geforce_card_computes_at_half_its_advertised_rate() -> None:
    assert tensor_flops("bf16", FACTS.gpu("RTX 4090")) == pytest.approx(165.2e12)


@pytest.mark.parametrize("faster", ["mem_bandwidth_gb_s", "bf16_dense_tflops", "nvlink_gb_s_total"])
@pytest.mark.parametrize("load", [(1, 1000, 0, 0), (64, 90_000, 0, 0), (0, 0, 4096, 2048), (256, 300_000, 2048, 500)])
def test_a_step_is_never_longer_on_a_faster_card(faster: str, load: tuple[int, int, int, int]) -> None:
    slow = setup(tp=2)
    gpu = slow.gpu.model_copy(update={faster: 1.5 * getattr(slow.gpu, faster)})
    assert StepModel.of(replace(slow, gpu=gpu)).step_s(*load) <= StepModel.of(slow).step_s(*load)


def test_gpus_add_up_their_halves_over_one_direction_of_their_link() -> None:
    two = setup(tp=2)
    constants = calibration().constants("vllm", "0.32.0", two.gpu)
    sent_bytes = 2 * 36 * (2 * 1 / 2 * 4096 * 2)  # twice a layer, all of a token's hidden state in 16 bits
    assert StepModel.of(two).reduce_token_s == pytest.approx(sent_bytes / (450e9 * constants["link"]))


def test_more_gpus_never_lengthen_the_reading_of_weights() -> None:
    assert StepModel.of(setup("qwen3-32b", tp=4)).matrix_read_s == pytest.approx(
        StepModel.of(setup("qwen3-32b", tp=2)).matrix_read_s / 2
    )


def test_eager_mode_is_bound_by_launches() -> None:
    step = StepModel.of(setup(enforce_eager=True))
    assert step.step_s(1, 0, 0, 0) >= step.launch_s > StepModel.of(setup()).step_s(1, 0, 0, 0)


def test_every_model_on_every_gpu_has_a_step_time() -> None:
    plain = setup()
    for model in FACTS.models.values():
        for gpu in FACTS.gpus.values():
            step = StepModel.of(replace(plain, model=model, gpu=gpu))
            assert 0 < step.step_s(8, 8000, 0, 0) < step.step_s(8, 8000, 2048, 1024)
