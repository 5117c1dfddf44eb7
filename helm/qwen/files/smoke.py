"""
Ask the Service what a client would: models, a chat, a stream, and a request without the key.

Environment: BASE_URL, MODEL, API_KEY. One line per check with its seconds; the first failure ends it with exit 1.
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
MODEL = os.environ["MODEL"]
AUTHORIZED = {"Authorization": "Bearer " + os.environ["API_KEY"]}
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


def without_key() -> str:
    try:
        status = ask("/v1/chat/completions", chat(), headers={}).status
    except urllib.error.HTTPError as refusal:
        status = refusal.code
    assert status == 401, f"a chat without the key got {status}, not 401"
    return str(status)


def main() -> int:
    checks: dict[str, Callable[[], str]] = {
        "models": models,
        "chat": one_chat,
        "stream": one_stream,
        "without key": without_key,
    }
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
