"""
The engine, asked from inside its own process: no socket, no key, no place in the queue.

It is warm when it has answered one request of each kind; then one token is asked for whenever nobody got an answer for
a while, so that an engine that hangs is found though its HTTP server lives.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from guard_leaving import Leaving

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

AGAIN_AFTER_S = 5.0
LONGEST_WORDS = 300

log = logging.getLogger("guard")
log.addHandler(logging.StreamHandler(sys.stderr))
log.handlers[0].setFormatter(logging.Formatter("guard: %(message)s"))
log.setLevel(logging.INFO)
log.propagate = False  # the engines set up the root logger, each its own way


class Engine:
    """
    Args:
        app: the engine's ASGI application, inside the guard.
        settings: ``model``, the name that requests carry; ``warmUp``, name -> path and body of the requests to answer
            before the pod is ready; ``afterWarmUp``, a path to ask then ("" is none); ``heartbeat``, path, body and
            seconds: what is asked when no answer has passed for so long.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], settings: dict[str, Any], leaving: Leaving) -> None:
        self._app = app
        self._model: str = settings["model"]
        self._warm_up: dict[str, dict[str, Any]] = settings["warmUp"]
        self._after_warm_up: str = settings["afterWarmUp"]
        self._heartbeat: dict[str, Any] = settings["heartbeat"]
        self._leaving = leaving
        self._inherited: Message = {}
        self.warm = False
        self.last_answer = 0.0  # seconds since 1970, for Prometheus
        self._answered = time.monotonic()  # a clock that is set does not move it

    async def keep_warm(self, lifespan: Message) -> None:
        """Warm the engine up, then ask it for a token whenever it is silent. Ends by being cancelled."""
        # Starlette finds itself and its state in the scope.
        self._inherited = {name: lifespan[name] for name in ("app", "state") if name in lifespan}
        started = time.monotonic()
        while (await self.ask("GET", "/health"))[0] != 200:
            await asyncio.sleep(0.5)
        log.info("warm-up begins: %s", ", ".join(self._warm_up))
        for name, request in self._warm_up.items():
            await self._warm(name, request)
        if self._after_warm_up:
            status, body = await self.ask("POST", self._after_warm_up)
            log.info("%s: %d %s", self._after_warm_up, status, _words(body))
        # The engines take SIGTERM over at their start, or at the first request.
        self._leaving.hear_sigterm()
        self.warm = True
        log.info("warm after %.1f s", time.monotonic() - started)
        while True:
            silent_s = time.monotonic() - self._answered
            if silent_s < self._heartbeat["seconds"]:
                await asyncio.sleep(self._heartbeat["seconds"] - silent_s)
            elif self._leaving.begun:
                return
            else:
                await self._beat()

    async def _warm(self, name: str, request: dict[str, Any]) -> None:
        """
        Ask until the engine has an answer. A refusal (4xx) is one: it says what these arguments do not offer, and
        asking again changes nothing. An error (5xx) is none: the pod stays unready until the probe gives up.
        """
        while True:
            started = time.monotonic()
            status, body = await self._generate(request)
            if status < 400:
                log.info("warm-up: %s answered in %.2f s", name, time.monotonic() - started)
                return
            if status < 500:
                log.warning("warm-up: %s refused with %d, clients will be too: %s", name, status, _words(body))
                return
            log.error("warm-up: %s failed with %d, asked again until it works: %s", name, status, _words(body))
            await asyncio.sleep(AGAIN_AFTER_S)

    async def _beat(self) -> None:
        """Ask for a token. Without a limit: an engine that hangs gets one question, and answers it when it is back."""
        status, body = await self._generate(self._heartbeat)
        if status >= 400:
            log.error("heartbeat: %d: %s", status, _words(body))
            await asyncio.sleep(self._heartbeat["seconds"])

    async def _generate(self, request: dict[str, Any]) -> tuple[int, bytes]:
        status, body = await self.ask("POST", request["path"], {"model": self._model, **request["body"]})
        if status < 400:
            self._note_answer()
        return status, body

    def _note_answer(self) -> None:
        self.last_answer = time.time()
        self._answered = time.monotonic()

    def noting_answers(self, receive: Receive, send: Send) -> tuple[Receive, Send]:
        """
        Both for a client's request: every piece of an answer is a sign of life. What is sent after the client has gone
        is none: vLLM then ends the request with a 200 of its own, though its engine may hang.
        """
        counts = True

        async def receive_from() -> Message:
            nonlocal counts
            message = await receive()
            counts = counts and message["type"] != "http.disconnect"
            return message

        async def send_on(message: Message) -> None:
            nonlocal counts
            if message["type"] == "http.response.start":
                counts = counts and message["status"] < 400
            elif message.get("body") and counts:
                self._note_answer()
            await send(message)

        return receive_from, send_on

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
        """Status and body of a request in this process; an exception of the engine is a 500."""
        content = b"" if body is None else json.dumps(body).encode()
        headers = [(b"host", b"guard"), (b"content-type", b"application/json")]
        scope: Message = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [*headers, (b"content-length", str(len(content)).encode())],
            "client": ("127.0.0.1", 0),
            "server": ("127.0.0.1", 0),
            **self._inherited,
        }
        unread: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]
        answered = asyncio.Event()
        status = 500
        parts: list[bytes] = []

        async def receive() -> Message:
            if unread:
                return unread.pop()
            await answered.wait()  # a disconnect before would cancel the request
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    answered.set()

        try:
            await self._app(scope, receive, send)
        except Exception as failure:  # whatever the engine raises, its server would answer 500
            return 500, f"{type(failure).__name__}: {failure}".encode()
        finally:
            answered.set()
        return status, b"".join(parts)


def _words(body: bytes) -> str:
    return " ".join(body.decode(errors="replace").split())[:LONGEST_WORDS]
