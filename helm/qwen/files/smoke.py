"""
Ask the Service what a client would, everything that this deployment's arguments switch on, and what it must refuse.

Environment: BASE_URL of the Service, METRICS_URL, API (chat, embeddings or rerank), ARGS (the engine's, a JSON list),
KEY_FILE. One line per check with its seconds; the first failure ends it with exit 1.
Standard library only: it runs in the engine's own image.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

Check = Callable[[], str]

BASE_URL = os.environ["BASE_URL"]
METRICS_URL = os.environ["METRICS_URL"]
API = os.environ["API"]
ARGS: list[str] = json.loads(os.environ["ARGS"])
AUTHORIZED = {"Authorization": "Bearer " + Path(os.environ["KEY_FILE"]).read_text().split()[0]}
ONE_REQUEST_S = 300  # a first request may compile kernels
COME_AGAIN_LIMIT_S = 60
CLOSED = (
    "/invocations",
    "/tokenize",
    "/v1/load_lora_adapter",
    "/metrics",
)  # open, or opened by the key, without a guard
WORDS = ("hello", "goodbye")
DIRECTLY = {"chat_template_kwargs": {"enable_thinking": False}}  # nothing to a model that cannot choose


def values_of(*flags: str) -> list[str]:
    """Everything said behind the first of *flags* that is among the arguments, up to the next flag."""
    found: list[str] = []
    for index, argument in enumerate(ARGS):
        flag, equals, value = argument.partition("=")
        if flag in flags:
            found = [value] if equals else []
            for following in ARGS[index + 1 :]:
                if following.startswith("--"):
                    break
                found.append(following)
    return found


def value_of(*flags: str) -> str:
    return next(iter(values_of(*flags)), "")


MODEL = value_of("--served-model-name")
ADAPTERS = [name.partition("=")[0] for name in values_of("--lora-modules", "--lora-paths")]
ROOM = min(4096, int(value_of("--max-model-len", "--context-length") or 8192) // 2)  # for a model that thinks first


def ask(path: str, body: dict[str, Any] | None = None, headers: dict[str, str] = AUTHORIZED) -> HTTPResponse:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(BASE_URL + path, data, {"Content-Type": "application/json", **headers})
    until = time.monotonic() + COME_AGAIN_LIMIT_S
    while True:
        try:
            response: HTTPResponse = urllib.request.urlopen(request, timeout=ONE_REQUEST_S)
            return response
        except urllib.error.HTTPError as refusal:
            later = refusal.headers.get("Retry-After")  # as any client of the Service should
            if refusal.code != 503 or not later or time.monotonic() > until:
                raise
            time.sleep(float(later))
        except urllib.error.URLError as failed:
            # A node learns of a Service's new pod a moment after the pod is Ready, and refuses until then.
            if not isinstance(failed.reason, ConnectionRefusedError) or time.monotonic() > until:
                raise
            time.sleep(1)


def refused(path: str, body: dict[str, Any], headers: dict[str, str] = AUTHORIZED) -> int:
    """Status of what should be no answer."""
    try:
        return ask(path, body, headers).status
    except urllib.error.HTTPError as refusal:
        return refusal.code


def chat(**more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16, **more}


def answered(**more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Message and usage of a chat's answer."""
    answer = json.load(ask("/v1/chat/completions", chat(**more)))
    return answer["choices"][0]["message"], answer["usage"]


def models() -> str:
    names = [model["id"] for model in json.load(ask("/v1/models"))["data"]]
    missing = {MODEL, *ADAPTERS} - set(names)
    assert not missing, f"{', '.join(sorted(missing))} not among the served models {names}"
    return ", ".join([MODEL, *ADAPTERS])


def one_chat(model: str) -> str:
    tokens: int = answered(model=model)[1]["completion_tokens"]
    assert tokens > 0, "no token in the answer"
    return f"{tokens} tokens"


def one_stream() -> str:
    lines = [line.decode().strip() for line in ask("/v1/chat/completions", chat(stream=True))]
    events = [line.removeprefix("data: ") for line in lines if line]
    assert events[-1] == "[DONE]", f"the stream ends with {events[-1]!r}, not with [DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert any(choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]), "no finish_reason"
    return f"{len(chunks)} chunks"


def one_tool_call() -> str:
    parameters = {
        "type": "object",
        "properties": {"word": {"enum": WORDS}},
        "required": ["word"],
        "additionalProperties": False,
    }
    tool = {"type": "function", "function": {"name": "greet", "strict": True, "parameters": parameters}}
    named = {"type": "function", "function": {"name": "greet"}}
    message, _ = answered(tools=[tool], tool_choice=named, max_tokens=ROOM, **DIRECTLY)
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    assert [call["name"] for call in calls] == ["greet"], f"no call of greet: {message}"
    # Qwen's XML has room around a value, and SGLang leaves it there.
    assert json.loads(calls[0]["arguments"])["word"].strip() in WORDS, f"not the schema's arguments: {calls}"
    return str(calls[0]["arguments"])


def one_structured_answer() -> str:
    schema = {"type": "json_schema", "json_schema": {"name": "greeting", "schema": {"enum": WORDS}}}
    content = answered(response_format=schema, max_tokens=ROOM, **DIRECTLY)[0]["content"]
    assert json.loads(content) in WORDS, f"not the schema's answer: {content!r}"
    return str(content)


def thinking_switch() -> str:
    def asked(thinking: bool) -> tuple[int, str]:
        message, usage = answered(temperature=0, chat_template_kwargs={"enable_thinking": thinking})
        return usage["prompt_tokens"], message.get("reasoning") or message.get("reasoning_content") or ""

    (tokens_on, thought), (tokens_off, unasked) = asked(True), asked(False)
    assert tokens_on != tokens_off, f"both prompts have {tokens_on} tokens: the chat template has no switch"
    assert thought, "switched on, and no reasoning in the answer"
    assert not unasked, f"switched off, and the answer has reasoning: {unasked!r}"
    return "on and off"


def one_embedding() -> str:
    asked = {"model": MODEL, "input": ["Say hello.", "Say goodbye."]}
    vectors = [entry["embedding"] for entry in json.load(ask("/v1/embeddings", asked))["data"]]
    sizes = {len(vector) for vector in vectors}
    assert (len(vectors), len(sizes)) == (2, 1), f"not two vectors of one size: {vectors}"
    return f"2 vectors of {sizes.pop()}"


def one_ranking() -> str:
    asked = {"model": MODEL, "query": "What is a greeting?", "documents": ["Say hello.", "The river is long."]}
    results = json.load(ask("/v1/rerank", asked))["results"]
    scores = [result["relevance_score"] for result in results]
    assert len(scores) == 2, f"not two results: {results}"
    assert scores == sorted(scores, reverse=True), f"not ranked: {results}"
    return f"scores {', '.join(f'{score:.3f}' for score in scores)}"


def without_key() -> str:
    path = {"chat": "/v1/chat/completions"}.get(API, f"/v1/{API}")
    for whose, headers in {"no": {}, "a wrong": {"Authorization": "Bearer wrong"}}.items():
        status = refused(path, {"model": MODEL}, headers)
        assert status == 401, f"{path} with {whose} key got {status}, not 401"
    return "401"


def closed_routes() -> str:
    statuses = {path: refused(path, {"model": MODEL}) for path in CLOSED}
    assert set(statuses.values()) == {404}, f"not all of these are 404: {statuses}"
    return f"404 for {', '.join(CLOSED)}"


def metrics() -> str:
    with urllib.request.urlopen(METRICS_URL + "/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    families = {line.partition("{")[0].partition(" ")[0] for line in lines if line and not line.startswith("#")}
    for whose, start in {"the guard": "qwenkit_", "the engine": ("vllm:", "sglang:")}.items():
        assert any(name.startswith(start) for name in families), f"none of {whose}: {sorted(families)[:9]}"
    return f"{len(families)} names"


def checks() -> Iterator[tuple[str, Check]]:
    yield "models", models
    if API == "chat":
        yield "chat", lambda: one_chat(MODEL)
        yield "stream", one_stream
        yield "structured output", one_structured_answer
        if value_of("--tool-call-parser"):
            yield "tool call", one_tool_call
        if value_of("--reasoning-parser") and "enable_thinking" in value_of("--default-chat-template-kwargs"):
            yield "thinking switch", thinking_switch
        for name in ADAPTERS:
            yield f"adapter {name}", lambda name=name: one_chat(name)  # type: ignore[misc]
    else:
        yield API, {"embeddings": one_embedding, "rerank": one_ranking}[API]
    yield "without key", without_key
    yield "closed routes", closed_routes
    yield "metrics", metrics


def main() -> int:
    for name, check in checks():
        started = time.monotonic()
        try:
            seen = check()
        except urllib.error.HTTPError as failure:
            seen, failed = f"{failure.code}: {failure.read().decode(errors='replace')[:300]}", True
        except (AssertionError, OSError, HTTPException, ValueError, LookupError) as failure:
            seen, failed = str(failure), True
        else:
            failed = False
        if failed:
            print(f"FAILED {name}: {seen}", file=sys.stderr, flush=True)
            return 1
        print(f"ok {name}: {seen}, {time.monotonic() - started:.2f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
