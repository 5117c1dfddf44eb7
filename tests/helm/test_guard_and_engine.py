"""
The guard in the real engines on a CPU, vLLM and the SGLang of every pinned image, as the chart starts them: one start
each, which test_qwen_on_an_engine.py shares. The tests are in the order of a pod's life; the last ones end it.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lab.tools.get import tool
from tests.children import exit_code
from tests.conclusive import Inconclusive, conclusive
from tests.helm import prometheus
from tests.helm.chart import Values, case, changed
from tests.helm.guarded import FIRST_KEY, SECOND_KEY, Guarded, exchange
from tests.helm.kinds import HEARTBEAT_S, MOST_INSIDE, Kind
from tests.helm.matrix import NO_KEY, RIGHT_KEY, WRONG_KEY, Question, known_paths, questions, tricks
from tests.helm.monitoring import alerts, autoscalers_question, compared, monitored, shown
from tests.waiting import wait_until

pytestmark = pytest.mark.engine

CHAT = "/v1/chat/completions"
FULL = 'qwenkit_requests_refused_total{reason="full"}'
ANSWERED = "qwenkit_last_answer_timestamp_seconds"
SOON_S = 20.0
TARGETS = {"ttftSeconds": 1.5, "tpotSeconds": 0.06, "statistic": "p95", "hungSeconds": 120}
WITH_KEY = {NO_KEY: None, WRONG_KEY: "no-such-key", RIGHT_KEY: FIRST_KEY}


def chat(tokens: int, **more: Any) -> Values:
    messages = [{"role": "user", "content": "Hello"}]
    return {"model": "tiny", "messages": messages, "max_tokens": tokens, "ignore_eos": True, **more}


class Stream:
    """A stream of *tokens* tokens whose first event has arrived."""

    def __init__(self, engine: Guarded, tokens: int, key: str = FIRST_KEY) -> None:
        self._connection = engine.connect()
        body = chat(tokens, stream=True, stream_options={"include_usage": True})
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        self._connection.request("POST", CHAT, json.dumps(body), headers)
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200, self._answer.read()
        assert self._answer.readline().startswith(b"data: ")

    def tokens(self) -> int:
        """Reads to the end, which must be [DONE]; tokens as the engine counted them."""
        events = [line.removeprefix(b"data: ") for line in self._answer.read().splitlines() if line]
        assert events[-1] == b"[DONE]"
        count: int = json.loads(events[-2])["usage"]["completion_tokens"]
        self._connection.close()
        return count

    def abandon(self) -> None:
        # The answer holds the socket too.
        self._answer.close()
        self._connection.close()


def status_of(engine: Guarded, question: Question) -> int:
    return engine.ask(question.method, question.path, question.body, WITH_KEY[question.key])[0]


def test_the_engine_was_warmed_up_before_it_was_ready(engine: Guarded) -> None:
    said = [line for line in engine.log.read_text().splitlines() if line.startswith("guard: ")]
    assert said[0] == "guard: warm-up begins: chat, sampled, structured, tool"
    answered = [re.sub(r"[0-9.]+ s$", "N s", line) for line in said[1:5]]
    assert answered == [f"guard: warm-up: {name} answered in N s" for name in ("chat", "sampled", "structured", "tool")]
    assert len([line for line in said if line.startswith("guard: warm after ")]) == 1


def test_the_engine_claims_no_core_that_other_pods_of_the_node_run_on(engine: Guarded) -> None:
    tasks = [task for process in _with_children(engine.process.pid) for task in _tasks(process)]
    allowed = []
    for task in tasks:
        with suppress(ProcessLookupError):  # it has ended
            allowed.append(os.sched_getaffinity(int(task.name)))
    assert len(allowed) > 3
    assert all(cores == os.sched_getaffinity(0) for cores in allowed)


def _with_children(process: int) -> list[int]:
    children = [int(child) for task in _tasks(process) for child in _read(task / "children").split()]
    return [process, *(each for child in children for each in _with_children(child))]


def _tasks(process: int) -> list[Path]:
    """None once it has ended."""
    try:
        return list(Path(f"/proc/{process}/task").iterdir())
    except OSError:
        return []


def _read(file: Path) -> str:
    """Nothing once the process has ended."""
    try:
        return file.read_text()
    except OSError:
        return ""


def test_every_route_that_the_engine_mounts_is_in_the_matrix(kind: Kind, engine: Guarded) -> None:
    mounted = kind.mounted(engine.log.read_text())
    assert len(mounted) > 30
    assert mounted <= known_paths()


def test_only_the_allow_list_answers_and_only_with_the_key(engine: Guarded) -> None:
    wrong = Counter[str]()
    asked = 0
    for question in questions():
        asked += 1
        if (status := status_of(engine, question)) != question.status:
            wrong[f"{question.method} {question.path} with {question.key}: {status}, not {question.status}"] += 1
    print(f"auth matrix: {asked} questions, {sum(wrong.values())} wrong answers")
    assert not wrong
    assert asked > 1000


def test_no_way_of_writing_a_path_leads_round_the_guard(engine: Guarded) -> None:
    found = {(question.path, question.key): status_of(engine, question) for question in tricks()}
    assert found == {(question.path, question.key): question.status for question in tricks()}


@pytest.mark.parametrize("key", [None, FIRST_KEY])
@pytest.mark.parametrize("path", [CHAT, "/v1/realtime", "/health"])
def test_a_websocket_is_refused(engine: Guarded, path: str, key: str | None) -> None:
    connection = engine.connect()
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    connection.request("GET", path, headers=upgrade | ({"Authorization": f"Bearer {key}"} if key else {}))
    assert connection.getresponse().status == 403
    connection.close()


def test_a_request_behind_a_refused_body_is_judged_by_itself(engine: Guarded) -> None:
    connection = engine.connect()
    hidden = f"GET /version HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {FIRST_KEY}\r\n\r\n"
    connection.request("POST", "/invocations", hidden, {"Content-Type": "text/plain"})
    answer = connection.getresponse()
    assert (answer.status, b"not served" in answer.read()) == (404, True)
    assert exchange(connection, "GET", "/v1/models", None, FIRST_KEY)[0] == 200
    connection.close()


def test_metrics_and_probes_are_on_the_other_port_and_nothing_else_is(kind: Kind, engine: Guarded) -> None:
    assert engine.ops("/ready") == engine.ops("/health") == (200, "")
    # The guard's own question may be inside just then.
    wait_until(lambda: engine.metric(kind.running) == 0, SOON_S, engine.last_words)
    assert [engine.ops(path)[0] for path in ("/", "/v1/models", "/docs", "//metrics")] == [404] * 4


def test_a_key_is_added_and_another_removed_while_requests_run(kind: Kind, engine: Guarded) -> None:
    stream = Stream(engine, kind.long)
    engine.keys_file.write_text(f"{FIRST_KEY}\n{SECOND_KEY}\n")
    assert [engine.ask("GET", "/v1/models", key=key)[0] for key in (FIRST_KEY, SECOND_KEY)] == [200, 200]
    engine.keys_file.write_text(f"{SECOND_KEY}\n")
    assert [engine.ask("GET", "/v1/models", key=key)[0] for key in (FIRST_KEY, SECOND_KEY)] == [401, 200]
    assert stream.tokens() == kind.long
    engine.keys_file.write_text("")
    assert engine.ask("GET", "/v1/models", key="")[0] == engine.ask("GET", "/v1/models", key=SECOND_KEY)[0] == 401
    assert engine.ops("/ready") == (503, "no key: every request is refused")
    engine.keys_file.write_text(FIRST_KEY)
    assert engine.ops("/ready")[0] == 200


def test_the_key_is_nowhere_in_the_log(engine: Guarded) -> None:
    assert FIRST_KEY not in engine.log.read_text()
    assert SECOND_KEY not in engine.log.read_text()


def test_a_stream_arrives_while_it_is_made(kind: Kind, engine: Guarded) -> None:
    stream = Stream(engine, kind.endless)
    assert engine.metric("qwenkit_in_flight") == 1  # its first event was read, its end is not made
    stream.abandon()
    wait_until(lambda: engine.metric("qwenkit_in_flight") == 0, SOON_S, engine.last_words)


@pytest.mark.parametrize("stream", [True, False])
def test_what_the_client_gives_up_the_engine_gives_up(kind: Kind, engine: Guarded, stream: bool) -> None:
    before = engine.metric(kind.generated)
    if stream:
        Stream(engine, kind.endless).abandon()
    else:
        connection = engine.connect()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {FIRST_KEY}"}
        connection.request("POST", CHAT, json.dumps(chat(kind.endless)), headers)
        wait_until(lambda: engine.metric(kind.running) == 1, SOON_S, engine.last_words)
        connection.close()
    wait_until(
        lambda: engine.metric(kind.running) == engine.metric("qwenkit_in_flight") == 0, SOON_S, engine.last_words
    )
    assert engine.metric(kind.generated) - before < kind.endless


def test_more_requests_than_the_queue_holds_are_told_to_come_back(kind: Kind, engine: Guarded) -> None:
    conclusive(lambda effort: more_requests_than_the_queue_holds(engine, effort * kind.long))


def more_requests_than_the_queue_holds(engine: Guarded, tokens: int) -> None:
    refused = engine.metric(FULL)
    streams = [Stream(engine, tokens) for _ in range(MOST_INSIDE)]
    status, headers, _ = engine.ask("POST", CHAT, chat(1))
    models = engine.ask("GET", "/v1/models")[0]
    inside = engine.metric("qwenkit_in_flight")
    assert [stream.tokens() for stream in streams] == [tokens] * MOST_INSIDE
    if inside < MOST_INSIDE:
        raise Inconclusive(f"{MOST_INSIDE - inside:.0f} streams of {tokens} tokens were over before it was asked")
    assert inside == MOST_INSIDE
    assert (status, headers["retry-after"], models) == (503, "2", 200)
    assert engine.ask("POST", CHAT, chat(1))[0] == 200
    assert engine.metric(FULL) == refused + 1


def test_every_question_about_the_engine_has_an_answer(kind: Kind, engine: Guarded, tmp_path: Path) -> None:
    objects = monitored(Path(tool("helm")), changed(case(kind.case), targets=TARGETS))
    asked = [*shown(objects).values(), *(part for rule in alerts(objects).values() for part in compared(rule))]
    engines_own = kind.running.partition(":")[0] + ":"
    about = [text for text in asked if "qwenkit_" in text or engines_own in text]
    assert len(about) > 20
    inside = autoscalers_question(Path(tool("helm")), case(kind.case))
    pod = {"targets": [f"127.0.0.1:{engine.ops_port}"], "labels": {"namespace": "qwen", "pod": "qwen-6d4cf56db6-x2x4z"}}
    with prometheus.running(tmp_path, [{"job_name": "qwen", "static_configs": [pod]}]) as server:
        server.wait_for(f"{inside} == 0")
        streams = [Stream(engine, kind.endless) for _ in range(2)]
        server.wait_for(f"{inside} == 2")
        for stream in streams:
            stream.abandon()
        server.wait_for(f"{inside} == 0")
        Stream(engine, 20).tokens()
        server.wait_for(shown(objects)["Answers: finishedRate"] + " > 0")
        answers = {text: server.series(text) for text in about}
    assert not [text for text, series in answers.items() if not series]


def last_answer_s(engine: Guarded) -> float:
    """Seconds since the engine answered anybody."""
    return time.time() - engine.metric(ANSWERED)


def test_an_idle_engine_shows_that_it_lives(engine: Guarded) -> None:
    beats = {engine.metric(ANSWERED)}

    def three() -> bool:
        beats.add(engine.metric(ANSWERED))
        return len(beats) >= 3

    wait_until(three, SOON_S, engine.last_words)


def test_an_engine_that_hangs_while_idle_is_seen_and_not_killed(kind: Kind, engine: Guarded) -> None:
    processes = _with_children(engine.process.pid)
    [core] = [each for each in processes if _read(Path(f"/proc/{each}/comm")).strip() == kind.computes]
    signal_to(core, signal.SIGSTOP)
    try:
        wait_until(lambda: last_answer_s(engine) > 3 * HEARTBEAT_S, SOON_S, engine.last_words)
        assert engine.ops("/health")[0] == 200
        assert engine.ops("/metrics")[0] == 200
    finally:
        goes_on = time.time()
        signal_to(core, signal.SIGCONT)
    wait_until(lambda: engine.metric(ANSWERED) > goes_on, SOON_S, engine.last_words)


def signal_to(pid: int, number: signal.Signals) -> None:
    subprocess.run(["kill", f"-{number.value}", str(pid)], check=True)


def test_a_leaving_pod_asks_keep_alive_clients_to_go_and_refuses_them_when_it_has_left(engine: Guarded) -> None:
    staying, asking = engine.connect(), engine.connect()
    for connection in (staying, asking):
        assert "connection" not in exchange(connection, "POST", CHAT, chat(1), FIRST_KEY)[1]
    (engine.state_folder / "leaving").touch()
    status, headers, _ = exchange(asking, "POST", CHAT, chat(1), FIRST_KEY)
    assert (status, headers["connection"]) == (200, "close")
    assert engine.ops("/ready")[0] == 200  # without another ready pod the Service still sends here
    (engine.state_folder / "left").touch()
    status, headers, _ = exchange(staying, "POST", CHAT, chat(1), FIRST_KEY)
    assert (status, headers["connection"], headers["retry-after"]) == (503, "close", "2")
    assert engine.ask("GET", "/health", key=None)[0] == engine.ops("/ready")[0] == 503
    assert engine.ops("/health")[0] == 200
    for file in ("leaving", "left"):
        (engine.state_folder / file).unlink()
    assert engine.ask("POST", CHAT, chat(1))[0] == 200


def test_sigterm_alone_ends_no_stream_and_answers_no_500(kind: Kind, engine: Guarded) -> None:
    tokens = 4 * kind.long  # more than the other clients ask for in the meantime
    stream = Stream(engine, tokens)
    seen, words = Counter[int](), dict[int, bytes]()
    keep_alive = engine.connect()
    exchange(keep_alive, "POST", CHAT, chat(1), FIRST_KEY)

    def ask_until_gone() -> None:
        while True:
            try:
                status, _, body = engine.ask("POST", CHAT, chat(1))
            except (OSError, http.client.HTTPException):
                return
            seen[status] += 1
            words[status] = body
            time.sleep(0.01)  # the engine has this machine's cores too

    client = threading.Thread(target=ask_until_gone, daemon=True)
    client.start()
    wait_until(lambda: seen[200] > 3, SOON_S, engine.last_words)
    engine.process.terminate()
    wait_until(lambda: seen[503] > 3, SOON_S, engine.last_words)
    status, headers, _ = exchange(keep_alive, "POST", CHAT, chat(1), FIRST_KEY)
    assert (status, headers["connection"]) == (503, "close")
    assert engine.metric("qwenkit_in_flight") == 1
    assert stream.tokens() == tokens
    assert exit_code(engine.process, SOON_S, engine.last_words) == 0
    wait_until(lambda: not client.is_alive(), SOON_S, "nobody asks any more")
    print(f"SIGTERM with a stream inside: {dict(seen)}")
    assert set(seen) == {200, 503}, words
