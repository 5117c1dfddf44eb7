"""
Ask the Service what a client would: models, an answer (a chat and a stream, embeddings, or a ranking), and the same
without the key.

Environment: BASE_URL, API (chat, embeddings or rerank), MODEL, API_KEY (its first line is used). One line per check
with its seconds; the first failure ends it with exit 1.
Standard library only: it runs in the engine's own image.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPResponse

BASE_URL = os.environ["BASE_URL"]
API = os.environ["API"]
MODEL = os.environ["MODEL"]
AUTHORIZED = {"Authorization": "Bearer " + os.environ["API_KEY"].split()[0]}
ONE_REQUEST_S = 300  # a first request may compile kernels


def ask(path: str, body: dict[str, object] | None = None, headers: dict[str, str] = AUTHORIZED) -> HTTPResponse:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(BASE_URL + path, data, {"Content-Type": "application/json", **headers})
    return urllib.request.urlopen(request, timeout=ONE_REQUEST_S)


def chat(**more: object) -> dict[str, object]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16, **more}


def models() -> str:
    names = [model["id"] for model in json.load(ask("/v1/models"))["data"]]
    assert MODEL in names, f"{MODEL} is not among the served models {names}"
    return MODEL


def one_chat() -> str:
    answer = json.load(ask("/v1/chat/completions", chat()))
    tokens = answer["usage"]["completion_tokens"]
    assert tokens > 0, f"no token in the answer: {answer}"
    return f"{tokens} tokens"


def one_stream() -> str:
    lines = [line.decode().strip() for line in ask("/v1/chat/completions", chat(stream=True))]
    events = [line.removeprefix("data: ") for line in lines if line]
    assert events[-1] == "[DONE]", f"the stream ends with {events[-1]!r}, not with [DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert any(choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]), "no finish_reason"
    return f"{len(chunks)} chunks"


def embeddings() -> dict[str, object]:
    return {"model": MODEL, "input": ["Say hello.", "Say goodbye."]}


def one_embedding() -> str:
    vectors = [entry["embedding"] for entry in json.load(ask("/v1/embeddings", embeddings()))["data"]]
    sizes = {len(vector) for vector in vectors}
    assert (len(vectors), len(sizes)) == (2, 1), f"not two vectors of one size: {vectors}"
    return f"2 vectors of {sizes.pop()}"


def ranking() -> dict[str, object]:
    return {"model": MODEL, "query": "What is a greeting?", "documents": ["Say hello.", "The river is long."]}


def one_ranking() -> str:
    results = json.load(ask("/v1/rerank", ranking()))["results"]
    scores = [result["relevance_score"] for result in results]
    assert len(scores) == 2, f"not two results: {results}"
    assert scores == sorted(scores, reverse=True), f"not ranked: {results}"
    return f"scores {', '.join(f'{score:.3f}' for score in scores)}"


def without_key(path: str, body: dict[str, object]) -> str:
    try:
        status = ask(path, body, headers={}).status
    except urllib.error.HTTPError as refusal:
        status = refusal.code
    assert status == 401, f"{path} without the key got {status}, not 401"
    return str(status)


Checks = dict[str, Callable[[], str]]

ANSWERS: dict[str, Checks] = {
    "chat": {
        "chat": one_chat,
        "stream": one_stream,
        "without key": lambda: without_key("/v1/chat/completions", chat()),
    },
    "embeddings": {
        "embeddings": one_embedding,
        "without key": lambda: without_key("/v1/embeddings", embeddings()),
    },
    "rerank": {
        "rerank": one_ranking,
        "without key": lambda: without_key("/v1/rerank", ranking()),
    },
}


def main() -> int:
    checks: Checks = {"models": models, **ANSWERS[API]}
    for name, check in checks.items():
        started = time.monotonic()
        try:
            seen = check()
        except (AssertionError, OSError, ValueError, LookupError) as failure:
            print(f"FAILED {name}: {failure}", file=sys.stderr, flush=True)
            return 1
        print(f"ok {name}: {seen}, {time.monotonic() - started:.2f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
