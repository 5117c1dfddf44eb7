"""What helm test asks, of a stand-in that answers as an engine behind the guard does, but for one thing at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.helm.chart import CHART, Values
from tests.servers import Quiet, serving

Answer = tuple[int, Any]


class Asked(NamedTuple):
    """A request, and the right answer to it."""

    path: str
    key: str
    body: Values
    status: int
    said: Any


Change = Callable[[Asked], Answer | None]

CHAT = "/v1/chat/completions"
ARGS = ["/models", "--served-model-name", "q", "--max-model-len", "4096", "--tool-call-parser", "hermes"]
ARGS += ["--reasoning-parser", "qwen3", "--default-chat-template-kwargs", '{"enable_thinking": false}']
ARGS += ["--lora-modules", "law=/adapters/law"]
ANSWERS = ("models", "chat", "stream", "structured output", "tool call", "thinking switch", "adapter law")
CHECKS = (*ANSWERS, "without key", "closed routes", "metrics")
METRICS = 'qwenkit_ready 1\nvllm:num_requests_running{engine="0"} 0\n'
CHUNK = json.dumps({"choices": [{"finish_reason": "stop"}]})


class Service(ThreadingHTTPServer):
    """Answers as an engine behind the guard does, but where ``change`` has another answer."""

    def __init__(self, listens: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Answering, bind_and_activate=False)
        self.server_bind()
        if listens:
            self.server_activate()
        self.change: Change = lambda _: None
        self.busy = 0  # requests that are told to come again first


class Answering(Quiet):
    server: Service

    def do_GET(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        key = self.headers.get("Authorization", "")
        asked = Asked(self.path, key, body, *answer(self.path, key, body))
        status, said = self.server.change(asked) or (asked.status, asked.said)
        if self.server.busy:
            self.server.busy, status = self.server.busy - 1, 503
        self.send_response(status)
        self.send_header("Retry-After", "0.01")
        self.end_headers()
        self.wfile.write((said if isinstance(said, str) else json.dumps(said)).encode())

    do_POST = do_GET


def answer(path: str, key: str, body: Values) -> Answer:
    if path == "/ops/metrics":
        return 200, METRICS
    if path not in ("/v1/models", CHAT):
        return 404, ""
    if key != "Bearer first":
        return 401, ""
    if path == "/v1/models":
        return 200, {"data": [{"id": "q"}, {"id": "law"}]}
    if body.get("stream"):
        return 200, f"data: {CHUNK}\n\ndata: [DONE]\n\n"
    message: Values = {"content": "hello"}
    if "tools" in body:
        message = {"tool_calls": [{"function": {"name": "greet", "arguments": '{"word": "hello"}'}}]}
    if "response_format" in body:
        message = {"content": '"goodbye"'}
    thinks = body.get("chat_template_kwargs", {}).get("enable_thinking", False)
    if thinks:
        message["reasoning"] = "Hm."
    return 200, {"choices": [{"message": message}], "usage": {"prompt_tokens": 9 + thinks, "completion_tokens": 3}}


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(Service()) as server:
        yield server


def run(service: Service, folder: Path) -> tuple[int, list[str], str]:
    """Exit status, lines and complaint of helm test."""
    (folder / "keys").write_text("first\nsecond\n")
    url = f"http://127.0.0.1:{service.server_port}"
    about = {"BASE_URL": url, "METRICS_URL": f"{url}/ops", "API": "chat", "ARGS": json.dumps(ARGS)}
    done = subprocess.run(
        [sys.executable, CHART / "files/smoke.py"],
        env={**os.environ, **about, "KEY_FILE": str(folder / "keys")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_an_engine_that_answers_as_it_should_passes_every_check(service: Service, tmp_path: Path) -> None:
    service.busy = 3  # as any client it comes again
    status, said, complaint = run(service, tmp_path)
    assert (status, complaint) == (0, "")
    assert [line.removeprefix("ok ").partition(":")[0] for line in said] == list(CHECKS)


def test_a_service_that_does_not_know_its_pod_yet_is_asked_again(tmp_path: Path) -> None:
    late = Service(listens=False)  # who connects is refused
    threading.Timer(1.5, late.server_activate).start()
    with serving(late):
        status, said, complaint = run(late, tmp_path)
    assert (status, complaint, len(said)) == (0, "", len(CHECKS))


def of(path: str, said: Any, asks: Callable[[Values], bool] = lambda _: True, status: int = 200) -> Change:
    """Another answer where *path* is asked for what *asks* finds."""
    return lambda asked: (status, said) if (asked.path, asked.status) == (path, 200) and asks(asked.body) else None


def message(tokens: int = 3, **said: Any) -> Values:
    return {"choices": [{"message": said}], "usage": {"prompt_tokens": 9, "completion_tokens": tokens}}


def call(name: str, arguments: str) -> Values:
    return message(tool_calls=[{"function": {"name": name, "arguments": arguments}}])


def streams(body: Values) -> bool:
    return "stream" in body


def calls(body: Values) -> bool:
    return "tools" in body


def switches(body: Values) -> bool:
    return "temperature" in body


THOUGHT = message(content="hello", reasoning="Hm.")
WRONG: dict[str, tuple[str, Change]] = {
    "an adapter is not served": ("models", of("/v1/models", {"data": [{"id": "q"}]})),
    "the engine breaks": ("chat", of(CHAT, "no", status=500)),
    "the answer has no token": ("chat", of(CHAT, message(tokens=0, content=""))),
    "a stream breaks off": ("stream", of(CHAT, f"data: {CHUNK}\n\n", streams)),
    "a stream says no reason": (
        "stream",
        of(CHAT, 'data: {"choices": [{"finish_reason": null}]}\n\ndata: [DONE]\n\n', streams),
    ),
    "a schema is not obeyed": (
        "structured output",
        of(CHAT, message(content='"hi"'), lambda body: "response_format" in body),
    ),
    "no tool is called": ("tool call", of(CHAT, message(content="hello"), calls)),
    "another tool is called": ("tool call", of(CHAT, call("go", '{"word": "hello"}'), calls)),
    "a tool is called wrongly": ("tool call", of(CHAT, call("greet", '{"word": "hi"}'), calls)),
    "the template has no switch": ("thinking switch", of(CHAT, THOUGHT, switches)),
    "thinking stays off": (
        "thinking switch",
        lambda asked: (
            (200, message(content="hello") | {"usage": asked.said["usage"]}) if switches(asked.body) else None
        ),
    ),
    "thinking stays on": (
        "thinking switch",
        of(CHAT, THOUGHT, lambda body: switches(body) and not body["chat_template_kwargs"]["enable_thinking"]),
    ),
    "an adapter breaks": ("adapter law", of(CHAT, "no", lambda body: body["model"] == "law", status=400)),
    "nobody is asked for a key": ("without key", lambda asked: (200, "") if asked.status == 401 else None),
    "any key will do": ("without key", lambda asked: (200, "") if asked.status == 401 and asked.key else None),
    "a route is open": ("closed routes", lambda asked: (200, "") if asked.path == "/tokenize" else None),
    "the guard is not in": ("metrics", of("/ops/metrics", "vllm:num_requests_running 0\n")),
    "the engine counts nothing": ("metrics", of("/ops/metrics", "qwenkit_ready 1\n")),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_first_thing_that_is_wrong_ends_it_with_its_name(what: str, service: Service, tmp_path: Path) -> None:
    check, service.change = WRONG[what]
    status, said, complaint = run(service, tmp_path)
    assert status == 1, said
    assert [line.removeprefix("ok ").partition(":")[0] for line in said] == list(CHECKS[: CHECKS.index(check)])
    assert complaint.startswith(f"FAILED {check}: ")
    assert complaint.count("\n") == 1
    assert "Traceback" not in complaint
