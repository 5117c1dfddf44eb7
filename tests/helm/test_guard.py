"""The guard alone, around an application that answers everything: what it lets through, and when it is ready."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from tests.helm.chart import CHART
from tests.helm.matrix import MATRIX, NO_KEY, RIGHT_KEY, WRONG_KEY, questions, tricks
from tests.ports import free_port
from tests.waiting import Limit

Message = MutableMapping[str, Any]
App = Callable[..., Awaitable[None]]

HEADERS = {NO_KEY: [], WRONG_KEY: [(b"authorization", b"Bearer x")], RIGHT_KEY: [(b"authorization", b"bearer right")]}
CHAT = "/v1/chat/completions"
LIMIT_S = 60
BEAT_S = 0.02
NO_BEAT_S = 3600


class Application:
    """Answers with *statuses* in turn, the last one for ever; holds POSTs of clients while *open* is not set."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses) or [200]
        self.asked: list[str] = []
        self.held = 0
        self.headers: list[Any] = []
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.startup.complete"})
            await receive()
            return
        self.asked.append(f"{scope['method']} {scope['path']}")
        self.headers = scope["headers"]
        status = 200
        if scope["method"] == "POST":
            self.held += 1
            await self.open.wait()
            self.held -= 1
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"words"})


class Bench:
    """A guard around *app* whose server has started."""

    def __init__(self, app: App, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
        monkeypatch.syspath_prepend(str(CHART / "files"))
        import guard  # type: ignore[import-not-found]

        self.ops_port = free_port()
        self.keys_file = folder / "keys"
        self.folder = folder
        self.keys_file.write_text("right\n")
        api = yaml.safe_load((CHART / "files" / "apis.yaml").read_text())["chat"]
        settings = {
            **{"model": "tiny", "routes": api["routes"], "warmUp": {"chat": api["warmUp"]["chat"]}, "afterWarmUp": ""},
            **{"withoutEngine": api["withoutEngine"]},
            **{"heartbeat": {**api["heartbeat"], "seconds": NO_BEAT_S}, "maxInFlight": 0, "opsPort": self.ops_port},
            **{"keysFile": str(self.keys_file), "stateFolder": str(folder), **changes},
        }
        (folder / "guard.json").write_text(json.dumps(settings))
        monkeypatch.setenv("QWENKIT_GUARD", str(folder / "guard.json"))
        self.guard = guard.Guard(app)

    async def __aenter__(self) -> Bench:
        started, self._stop = asyncio.Event(), asyncio.Event()

        async def receive() -> Message:
            await self._stop.wait()
            return {"type": "lifespan.shutdown"}

        async def send(_: Message) -> None:
            started.set()

        self._life = asyncio.create_task(self.guard({"type": "lifespan"}, receive, send))
        await asyncio.wait_for(started.wait(), LIMIT_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.wait_for(self._life, LIMIT_S)

    async def warm(self) -> Bench:
        await until(lambda: self.guard.engine.warm)
        return self

    async def ask(self, method: str, target: str, key: str = RIGHT_KEY) -> tuple[int, dict[bytes, bytes], bytes]:
        raw = target.partition("?")[0].encode()
        scope = {"type": "http", "method": method, "path": unquote(raw.decode()), "raw_path": raw}
        return await self.send({**scope, "headers": HEADERS[key]})

    async def send(self, scope: Message) -> tuple[int, dict[bytes, bytes], bytes]:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await self.guard(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]

    async def ops(self, path: str, method: str = "GET", address: str = "127.0.0.1") -> tuple[int, str]:
        reader, writer = await asyncio.open_connection(address, self.ops_port)
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head, _, body = (await asyncio.wait_for(reader.read(), LIMIT_S)).decode().partition("\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        return int(head.split(" ")[1]), body


async def until(condition: Callable[[], bool]) -> None:
    limit = Limit(LIMIT_S, "the guard does what it should")
    while not limit.allows(condition):
        await asyncio.sleep(0.01)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    before = signal.getsignal(signal.SIGTERM)
    yield lambda app, **changes: Bench(app, tmp_path, monkeypatch, **changes)
    signal.signal(signal.SIGTERM, before)  # a warm guard has taken it over


def test_nothing_outside_the_allow_list_reaches_an_engine_that_answers_everything(bench: Callable[..., Bench]) -> None:
    async def life() -> None:
        app = Application()
        async with bench(app) as running:
            await running.warm()
            app.asked.clear()
            wrong = []
            for question in [*questions(), *tricks()]:
                if question.path.startswith(("http:", "\\")):
                    continue  # a target that the HTTP server takes apart, or refuses, itself
                status, _, _ = await running.ask(question.method, question.path, question.key)
                if status != question.status:
                    wrong.append((question, status))
            assert not wrong
            assert set(app.asked) <= {*(" ".join(route) for route in running.guard.routes), "GET /health"}

    asyncio.run(life())


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"right")],
        [(b"authorization", b"Basic right")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer right x")],
        [(b"authorization", b"Bearer right"), (b"authorization", b"Bearer right")],
        [(b"x-api-key", b"right")],
    ],
)
def test_a_key_counts_only_as_the_one_bearer_token(bench: Callable[..., Bench], headers: list[Any]) -> None:
    async def life() -> int:
        async with bench(Application()) as running:
            scope = {"type": "http", "method": "GET", "path": "/v1/models", "raw_path": b"/v1/models"}
            return (await running.send({**scope, "headers": headers}))[0]

    assert asyncio.run(life()) == 401


@pytest.mark.parametrize("route", [("GET", "/v1/models"), ("POST", CHAT), ("POST", "/v1/messages/count_tokens")])
def test_the_engine_gets_everything_but_the_key(bench: Callable[..., Bench], route: tuple[str, str]) -> None:
    async def life() -> None:
        app = Application()
        async with bench(app) as running:
            await running.warm()
            method, path = route
            scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode()}
            status, _, _ = await running.send(
                {**scope, "headers": [(b"host", b"x"), *HEADERS[RIGHT_KEY], (b"a", b"b")]}
            )
            assert (status, app.headers) == (200, [(b"host", b"x"), (b"a", b"b")])

    asyncio.run(life())


@pytest.mark.parametrize("bearer", [b"Bearer ", b"Bearer", b"Bearer  "])
def test_an_empty_line_is_no_key(bench: Callable[..., Bench], bearer: bytes) -> None:
    async def life() -> None:
        async with bench(Application()) as running:
            scope = {"type": "http", "method": "GET", "path": "/v1/models", "raw_path": b"/v1/models"}
            for keys in ("right\n\n", "\n \n", ""):
                running.keys_file.write_text(keys)
                assert (await running.send({**scope, "headers": [(b"authorization", bearer)]}))[0] == 401
            assert (await running.ops("/ready"))[1].endswith("no key: every request is refused")

    asyncio.run(life())


def test_the_access_log_tells_of_clients_and_not_of_the_waiting_rooms_looks(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    bench(Application())
    uvicorns = logging.getLogger("uvicorn.access")
    with caplog.at_level(logging.INFO, uvicorns.name):
        for request in ("GET", "/health"), ("POST", CHAT):
            uvicorns.info('%s - "%s %s HTTP/%s" %d', "10.0.0.1:4711", *request, "1.1", 200)
    assert [record.getMessage() for record in caplog.records] == [f'10.0.0.1:4711 - "POST {CHAT} HTTP/1.1" 200']


def test_keys_change_as_kubernetes_changes_a_mounted_secret(bench: Callable[..., Bench]) -> None:
    async def life() -> None:
        async with bench(Application()) as running:
            for version, keys in (("one", "right"), ("two", "other\n\n"), ("three", "other\r\nright\n")):
                (running.folder / version).write_text(keys)
                (running.folder / "next").symlink_to(running.folder / version)
                (running.folder / "next").rename(running.keys_file)
                expected = 200 if "right" in keys else 401
                assert (await running.ask("GET", "/v1/models"))[0] == expected
            running.keys_file.unlink()
            assert (await running.ask("GET", "/v1/models"))[0] == 401

    asyncio.run(life())


def test_a_pod_is_not_ready_and_answers_503_while_it_warms_up(bench: Callable[..., Bench]) -> None:
    async def life() -> None:
        app = Application()
        app.open.clear()
        async with bench(app) as running:
            await until(lambda: f"POST {CHAT}" in app.asked)
            assert await running.ops("/ready") == (503, "warming up")
            assert (await running.ops("/health"))[0] == 200
            status, headers, _ = await running.ask("POST", CHAT)
            assert (status, headers[b"retry-after"]) == (503, b"2")
            assert (await running.ask("GET", "/health", NO_KEY))[0] == 503
            app.open.set()
            await running.warm()
            assert (await running.ops("/ready"))[0] == 200

    asyncio.run(life())


def test_probes_and_metrics_are_answers_to_get_on_every_address_of_the_pod(bench: Callable[..., Bench]) -> None:
    async def life() -> None:
        async with bench(Application()) as running:
            await running.warm()
            for path in ("/ready", "/health", "/metrics"):
                found = {method: (await running.ops(path, method, "127.0.0.2"))[0] for method in MATRIX["methods"]}
                assert found == {method: 200 if method == "GET" else 404 for method in MATRIX["methods"]}

    asyncio.run(life())


def test_a_refused_warm_up_request_leaves_a_word_and_a_ready_pod(bench: Callable[..., Bench]) -> None:
    async def life() -> None:
        async with bench(Application(400)) as running:
            await running.warm()
            assert (await running.ops("/ready"))[0] == 200

    said = heard(life)
    assert any(line == "warm-up: chat refused with 400, clients will be too: words" for line in said), said


def test_a_failed_warm_up_request_is_asked_again_until_it_is_answered(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def life() -> None:
        app = Application(500, 500, 200)
        running = bench(app)
        monkeypatch.setattr(sys.modules["guard_engine"], "AGAIN_AFTER_S", 0.01)
        async with running:
            await running.warm()
            assert app.asked.count(f"POST {CHAT}") == 3

    said = heard(life)
    assert [line for line in said if "failed with 500" in line] == [
        "warm-up: chat failed with 500, asked again until it works: words"
    ] * 2


def heard(life: Callable[[], Any]) -> list[str]:
    """What the guard logged during *life*."""
    said: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("guard").addHandler(listener)
    try:
        asyncio.run(life())
    finally:
        logging.getLogger("guard").removeHandler(listener)
    return said


def test_as_many_requests_are_inside_as_the_queue_holds_and_the_next_is_told_to_come_back(
    bench: Callable[..., Bench],
) -> None:
    async def life() -> None:
        app = Application()
        async with bench(app, maxInFlight=2) as running:
            await running.warm()
            app.open.clear()
            inside = [asyncio.create_task(running.ask("POST", CHAT)) for _ in range(2)]
            await until(lambda: len(running.guard.inside) == 2)
            status, headers, _ = await asyncio.wait_for(running.ask("POST", CHAT), LIMIT_S)
            assert (status, headers[b"retry-after"]) == (503, b"2")
            assert "qwenkit_in_flight 2" in (await running.ops("/metrics"))[1]
            assert (await running.ask("GET", "/v1/models"))[0] == 200
            app.open.set()
            assert [(await each)[0] for each in inside] == [200, 200]

    asyncio.run(life())


def test_a_request_that_the_engine_breaks_gives_its_place_back(bench: Callable[..., Bench]) -> None:
    class Broken(Application):
        async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
            if ("warm", True) in self.headers:
                raise ValueError("broken")
            await super().__call__(scope, receive, send)

    async def life() -> None:
        app = Broken()
        async with bench(app, maxInFlight=1) as running:
            await running.warm()
            app.headers = [("warm", True)]
            for _ in range(2):
                with pytest.raises(ValueError, match="broken"):
                    await running.ask("POST", CHAT)
            assert not running.guard.inside

    asyncio.run(life())


def test_a_request_gives_its_place_back_when_its_answer_ends_whatever_the_engine_does_then(
    bench: Callable[..., Bench],
) -> None:
    async def life() -> None:
        app, released = Application(), asyncio.Event()

        async def lingering(scope: Message, receive: Any, send: Any) -> None:
            await app(scope, receive, send)
            if ("slow", True) in scope.get("headers", ()):
                await released.wait()

        async with bench(lingering, maxInFlight=1) as running:
            await running.warm()
            scope = {"type": "http", "method": "POST", "path": CHAT, "raw_path": CHAT.encode()}
            asking = asyncio.create_task(running.send({**scope, "headers": [*HEADERS[RIGHT_KEY], ("slow", True)]}))
            await until(lambda: len(app.asked) > 1 and not running.guard.inside)
            assert (await running.ask("POST", CHAT))[0] == 200
            assert not asking.done()
            released.set()
            assert (await asking)[0] == 200

    asyncio.run(life())


def test_an_engine_that_stopped_under_a_request_answers_503_in_a_pod_that_has_left(bench: Callable[..., Bench]) -> None:
    async def life() -> None:
        app = Application(200, 500)
        async with bench(app) as running:
            await running.warm()
            assert (await running.ask("POST", CHAT))[0] == 500
            app.open.clear()
            asking = asyncio.create_task(running.ask("POST", CHAT))
            await until(lambda: len(running.guard.inside) == 1)
            (running.folder / "left").touch()
            app.open.set()
            status, headers, _ = await asking
            assert (status, headers[b"retry-after"], headers[b"connection"]) == (503, b"2", b"close")

    asyncio.run(life())


def test_an_engine_that_breaks_in_a_pod_that_has_left_is_a_retry_too(bench: Callable[..., Bench]) -> None:
    async def life() -> None:
        app = Application()

        async def broken(scope: Message, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and b"x-break" in dict(scope["headers"]):
                (running.folder / "left").touch()
                raise RuntimeError("the engine is dead")
            await app(scope, receive, send)

        async with bench(broken) as running:
            await running.warm()
            scope = {"type": "http", "method": "POST", "path": CHAT, "raw_path": CHAT.encode()}
            status, headers, _ = await running.send({**scope, "headers": [*HEADERS[RIGHT_KEY], (b"x-break", b"")]})
            assert (status, headers[b"retry-after"]) == (503, b"2")

    asyncio.run(life())


def test_a_pod_stays_ready_while_its_endpoints_are_withdrawn_and_says_that_it_goes(
    bench: Callable[..., Bench],
) -> None:
    async def life() -> None:
        async with bench(Application()) as running:
            await running.warm()
            for file, status in (("leaving", 200), ("left", 503)):
                (running.folder / file).touch()
                # Without another ready pod the Service still sends here.
                assert (await running.ops("/ready"))[0] == (await running.ask("GET", "/health", NO_KEY))[0] == status
                answered, headers, _ = await running.ask("POST", CHAT)
                assert (answered, headers[b"connection"]) == (status, b"close")
            assert (await running.ops("/health"))[0] == 200

    asyncio.run(life())


def test_sigterm_is_heard_and_passed_on_to_the_engine(bench: Callable[..., Bench]) -> None:
    passed_on: list[int] = []

    async def life() -> None:
        signal.signal(signal.SIGTERM, lambda number, _: passed_on.append(number))
        async with bench(Application()) as running:
            await running.warm()
            signal.raise_signal(signal.SIGTERM)
            status, headers, _ = await running.ask("POST", CHAT)
            assert (status, headers[b"connection"], headers[b"retry-after"]) == (503, b"close", b"2")
            assert await running.ops("/ready") == (503, "leaving")

    asyncio.run(life())
    assert passed_on == [signal.SIGTERM]


def test_stale_files_of_a_container_that_was_restarted_are_forgotten(bench: Callable[..., Bench]) -> None:
    async def life() -> None:
        running = bench(Application())
        (running.folder / "leaving").touch()
        (running.folder / "left").touch()
        async with running:
            await running.warm()
            assert (await running.ops("/ready"))[0] == 200

    asyncio.run(life())


def test_the_metrics_are_the_guards_own_where_the_engine_has_none(bench: Callable[..., Bench]) -> None:
    async def life() -> None:
        app = Application()
        async with bench(app) as running:
            await running.warm()
            await running.ask("GET", "/nothing")
            _, text = await running.ops("/metrics")
            assert 'qwenkit_requests_refused_total{reason="route"} 1' in text
            assert 'qwenkit_requests_refused_total{reason="full"} 0' in text
            assert "qwenkit_ready 1" in text
            assert "qwenkit_in_flight 0" in text

    asyncio.run(life())


def test_an_engine_that_hangs_is_asked_once_and_again_when_it_has_come_back(bench: Callable[..., Bench]) -> None:
    async def life() -> None:
        app = Application()
        beat = yaml.safe_load((CHART / "files" / "apis.yaml").read_text())["chat"]["heartbeat"]
        async with bench(app, heartbeat={**beat, "seconds": BEAT_S}) as running:
            engine = (await running.warm()).guard.engine
            app.open.clear()
            await until(lambda: app.held == 1)
            answered, asked = engine.last_answer, len(app.asked)
            for _ in range(20):
                await asyncio.sleep(BEAT_S)  # whatever else is due has its turn
            # More questions would only stand in its queue.
            assert len(app.asked) == asked
            assert engine.last_answer == answered
            app.open.set()
            came_back = len(app.asked)
            await until(lambda: len(app.asked) > came_back + 2)
            assert engine.last_answer > answered

    asyncio.run(life())


def test_a_pod_that_leaves_is_not_asked_for_a_token(bench: Callable[..., Bench]) -> None:
    async def life() -> None:
        beat = yaml.safe_load((CHART / "files" / "apis.yaml").read_text())["chat"]["heartbeat"]
        async with bench(Application(), heartbeat={**beat, "seconds": BEAT_S}) as running:
            engine = (await running.warm()).guard.engine
            warm = engine.last_answer
            await until(lambda: engine.last_answer > warm)
            (running.folder / "leaving").touch()
            await until(lambda: time.time() - engine.last_answer > 20 * BEAT_S)

    asyncio.run(life())


def test_a_clock_that_is_set_stops_no_heartbeat(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    async def life() -> None:
        app = Application()
        beat = yaml.safe_load((CHART / "files" / "apis.yaml").read_text())["chat"]["heartbeat"]
        async with bench(app, heartbeat={**beat, "seconds": BEAT_S}) as running:
            engine = (await running.warm()).guard.engine
            stands_still = SimpleNamespace(time=lambda: 1.0, monotonic=time.monotonic)
            monkeypatch.setattr(sys.modules["guard_engine"], "time", stands_still)
            asked = len(app.asked)
            await until(lambda: len(app.asked) > asked + 2)
            assert engine.last_answer == 1.0

    asyncio.run(life())


@pytest.mark.parametrize(
    ("path", "goes", "signs_of_life"), [(CHAT, False, 1), (CHAT, True, 0), ("/v1/messages/count_tokens", False, 0)]
)
def test_what_needs_no_engine_or_follows_the_clients_end_is_no_sign_of_life(
    bench: Callable[..., Bench], path: str, goes: bool, signs_of_life: int
) -> None:
    class Listening(Application):
        """As vLLM: it learns of the client's end, and then ends the request with a 200."""

        async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                await receive()
            await super().__call__(scope, receive, send)

    async def life() -> int:
        async with bench(Listening()) as running:
            engine = (await running.warm()).guard.engine
            engine.last_answer = 1.0
            scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode()}

            async def receive() -> Message:
                return {"type": "http.disconnect" if goes else "http.request", "body": b"", "more_body": False}

            async def send(_: Message) -> None:
                pass

            await running.guard({**scope, "headers": HEADERS[RIGHT_KEY]}, receive, send)
            return int(engine.last_answer > 1.0)

    assert asyncio.run(life()) == signs_of_life
