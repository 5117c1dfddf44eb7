"""The argument lists, against what the engines' own parsers took (research on vLLM 0.32 and SGLang 0.5.23)."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sizing.engine.arguments import engine_args
from sizing.engine.settings import Settings
from sizing.engine.support import yarn_override
from sizing.errors import Unsupported
from sizing.facts.catalogue import load_facts
from sizing.request.request import Adapter, Serving

FACTS = load_facts()
SETTINGS = Settings(
    tp=2,
    pp=1,
    max_model_len=8192,
    max_num_seqs=32,
    max_num_batched_tokens=2048,
    gpu_memory_utilization=0.92,
    kv_cache_dtype="fp8",
)


def value_of(args: tuple[str, ...], flag: str) -> str:
    return args[args.index(flag) + 1]


def test_vllm_gets_the_model_first_and_its_own_words() -> None:
    model = FACTS.models["qwen3-8b"]
    args = engine_args(FACTS.engines["vllm"], model, "qwen", "bf16", SETTINGS, Serving(thinking=False))
    assert args[0] == "/models"
    assert value_of(args, "--tensor-parallel-size") == "2"
    assert value_of(args, "--kv-cache-dtype") == "fp8"
    assert value_of(args, "--tool-call-parser") == "hermes"
    assert "--enable-auto-tool-choice" in args
    assert json.loads(value_of(args, "--default-chat-template-kwargs")) == {"enable_thinking": False}


def test_sglang_gets_the_same_plan_in_its_own_words() -> None:
    model = FACTS.models["qwen3-8b"]
    args = engine_args(FACTS.engines["sglang"], model, "qwen", "bf16", SETTINGS, Serving())
    assert value_of(args, "--model-path") == "/models"
    assert value_of(args, "--context-length") == "8192"
    assert value_of(args, "--max-running-requests") == "32"
    assert value_of(args, "--kv-cache-dtype") == "fp8_e4m3"
    assert value_of(args, "--host") == "0.0.0.0"  # SGLang's default is 127.0.0.1
    assert "--enable-metrics" in args


@pytest.mark.parametrize(
    ("key", "asked", "thinks", "drawn"),
    [
        ("qwen3-8b", None, True, {"temperature": 0.6, "top_p": 0.95, "top_k": 20}),
        ("qwen3-8b", False, False, {"temperature": 0.7, "top_p": 0.8, "top_k": 20}),
        ("qwen3.5-2b", None, False, {"temperature": 1.0, "top_p": 1.0, "top_k": 20, "presence_penalty": 2.0}),
        ("qwen3.6-27b", True, True, {"temperature": 1.0, "top_p": 0.95, "top_k": 20}),
    ],
)
def test_a_hybrid_is_told_whether_to_think_and_samples_as_its_card_says_for_that_mode(
    key: str, asked: bool | None, thinks: bool, drawn: dict[str, float]
) -> None:
    serving = Serving(thinking=asked)
    args = engine_args(FACTS.engines["vllm"], FACTS.models[key], "q", "bf16", SETTINGS, serving)
    assert json.loads(value_of(args, "--default-chat-template-kwargs")) == {"enable_thinking": thinks}
    assert json.loads(value_of(args, "--override-generation-config")) == drawn


@pytest.mark.parametrize("key", ["qwen3-4b-instruct-2507", "qwen3-4b-thinking-2507", "qwen2.5-7b"])
def test_a_model_of_one_mode_keeps_its_repositorys_sampling(key: str) -> None:
    args = engine_args(FACTS.engines["vllm"], FACTS.models[key], "q", "bf16", SETTINGS, Serving())
    assert not {"--default-chat-template-kwargs", "--override-generation-config"} & set(args)


def test_text_only_leaves_the_towers_out() -> None:
    model = FACTS.models["qwen3.6-27b"]
    args = engine_args(FACTS.engines["vllm"], model, "q", "bf16", SETTINGS, Serving(text_only=True))
    assert "--language-model-only" in args


def test_tools_off_leaves_the_parser_out() -> None:
    model = FACTS.models["qwen3-8b"]
    args = engine_args(FACTS.engines["vllm"], model, "qwen", "bf16", SETTINGS, Serving(tools=False))
    assert "--tool-call-parser" not in args
    assert "--enable-auto-tool-choice" not in args


def test_context_past_the_native_length_switches_yarn_on_in_the_form_vllm_0_32_accepts() -> None:
    assert yarn_override(FACTS.models["qwen3-8b"], 40_960) is None
    assert yarn_override(FACTS.models["qwen3-8b"], 131_072) == {
        "max_position_embeddings": 131_072,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1_000_000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 32_768,
        },
    }


@pytest.mark.parametrize(("key", "tokens"), [("qwen3-8b", 131_073), ("qwen3-0.6b", 65_536), ("qwen2.5-vl-7b", 131_072)])
def test_a_context_that_cannot_be_stretched_is_refused_with_the_longest_that_works(key: str, tokens: int) -> None:
    with pytest.raises(Unsupported, match=r"at most"):
        yarn_override(FACTS.models[key], tokens)


def test_a_stretched_multimodal_model_keeps_its_sections_and_its_partial_rotation() -> None:
    assert yarn_override(FACTS.models["qwen3.6-27b"], 500_000) == {
        "text_config": {
            "max_position_embeddings": 1_010_000,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 10_000_000.0,
                "factor": 4.0,
                "original_max_position_embeddings": 262_144,
                "mrope_section": (11, 11, 10),
                "mrope_interleaved": True,
                "partial_rotary_factor": 0.25,
            },
        }
    }


def test_fp16_is_said_aloud_since_the_checkpoint_says_bf16() -> None:
    args = engine_args(FACTS.engines["vllm"], FACTS.models["qwen3-8b"], "q", "fp16", SETTINGS, Serving())
    assert value_of(args, "--dtype") == "float16"


def test_adapters_take_a_slot_each_and_in_sglang_one_for_the_bare_model() -> None:
    model = FACTS.models["qwen3-8b"]
    adapters = (Adapter(name="law", source="acme/law", rank=24), Adapter(name="sales", source="/srv/sales", rank=8))
    args = engine_args(FACTS.engines["vllm"], model, "q", "bf16", SETTINGS, Serving(adapters=adapters))
    assert value_of(args, "--max-loras") == "2"
    assert value_of(args, "--max-lora-rank") == "32"  # vLLM knows no 24
    at = args.index("--lora-modules")
    assert args[at : at + 3] == ("--lora-modules", "law=/adapters/law", "sales=/srv/sales")
    assert "--enable-lora" in args
    args = engine_args(FACTS.engines["sglang"], model, "q", "bf16", SETTINGS, Serving(adapters=adapters))
    assert value_of(args, "--max-loras-per-batch") == "3"
    assert value_of(args, "--max-lora-rank") == "24"
    assert value_of(args, "--lora-paths") == "law=/adapters/law"


def test_without_adapters_nothing_is_said_of_them() -> None:
    args = engine_args(FACTS.engines["vllm"], FACTS.models["qwen3-8b"], "q", "bf16", SETTINGS, Serving())
    assert not [word for word in args if "lora" in word]


def test_drafts_are_asked_in_each_engines_words() -> None:
    model = FACTS.models["qwen3.6-27b"]
    args = engine_args(FACTS.engines["vllm"], model, "q", "bf16", SETTINGS, Serving(speculative_tokens=3))
    assert json.loads(value_of(args, "--speculative-config")) == {"method": "mtp", "num_speculative_tokens": 3}
    args = engine_args(FACTS.engines["sglang"], model, "q", "bf16", SETTINGS, Serving(speculative_tokens=3))
    assert value_of(args, "--speculative-num-steps") == "3"
    assert value_of(args, "--speculative-num-draft-tokens") == "4"
    assert value_of(args, "--speculative-eagle-topk") == "1"


def test_models_without_answers_are_pooled() -> None:
    model = FACTS.models["qwen3-embedding-8b"]
    args = engine_args(FACTS.engines["vllm"], model, "q", "bf16", SETTINGS, Serving())
    assert value_of(args, "--runner") == "pooling"
    assert "--enable-auto-tool-choice" not in args
    assert "--is-embedding" in engine_args(FACTS.engines["sglang"], model, "q", "bf16", SETTINGS, Serving())
    reranker = FACTS.models["qwen3-reranker-8b"]
    args = engine_args(FACTS.engines["vllm"], reranker, "q", "bf16", SETTINGS, Serving())
    assert json.loads(value_of(args, "--hf-overrides"))["classifier_from_token"] == ["no", "yes"]


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_cards_without_nvlink_use_nccl_and_not_the_engines_own_all_reduce(engine: str) -> None:
    model = FACTS.models["qwen3-8b"]

    def args(settings: Settings, nvlink: bool) -> tuple[str, ...]:
        return engine_args(FACTS.engines[engine], model, "qwen", "bf16", settings, Serving(), nvlink=nvlink)

    assert "--disable-custom-all-reduce" in args(SETTINGS, nvlink=False)
    assert "--disable-custom-all-reduce" not in args(SETTINGS, nvlink=True)
    assert "--disable-custom-all-reduce" not in args(replace(SETTINGS, tp=1), nvlink=False)
