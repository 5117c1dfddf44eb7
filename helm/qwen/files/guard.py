"""
What stands between the network and the engine: an ASGI middleware around the engine's own server.

Only the routes of the allow-list answer, with a key; everything else is 404. At most ``maxInFlight`` requests are
inside. A pod that leaves says so to keep-alive clients, and refuses what the engine would answer with a 500.
A second port, for the kubelet and Prometheus only, has the engine's metrics, its health, and whether the pod is warm.

vLLM loads it with ``--middleware guard.Guard``, SGLang through ``serve_sglang.py``. Its settings are the JSON file that
the environment variable QWENKIT_GUARD names. Standard library only: it runs inside the engine's own process.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from guard_engine import Engine
from guard_keys import Keys
from guard_leaving import Leaving
from guard_ops import Ops

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

RETRY_AFTER_S = b"2"
HEALTH = "/health"
# Each has a series from the start: a rate would not see the first refusal of a series that begins with it.
REASONS = ("route", "key", "leaving", "warming", "full")


class Guard:
    """The middleware; one for each process of the server."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        settings = json.loads(Path(os.environ["QWENKIT_GUARD"]).read_text())
        self.app = app
        self.routes = {tuple(route.split(" ")) for route in settings["routes"]}
        self.without_engine = set(settings["withoutEngine"])
        self.most_inside: int = settings["maxInFlight"]
        self.inside: set[object] = set()
        self.refused = dict.fromkeys(REASONS, 0)
        self.keys = Keys(settings["keysFile"])
        self.leaving = Leaving(settings["stateFolder"])
        self.engine = Engine(app, settings, self.leaving)
        logging.getLogger("uvicorn.access").addFilter(_is_no_look)
        self.ops = Ops(settings["opsPort"], {"/health": self._health, "/ready": self._ready, "/metrics": self._metrics})

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, self._last_words(send))
        elif scope["type"] == "websocket":
            self.refused["route"] += 1
            await send({"type": "websocket.close", "code": 1008})

    async def _live(self, scope: Message, receive: Receive, send: Send) -> None:
        """Open the ops port and warm the engine up when the server has started; end both when it stops."""
        running: list[asyncio.Task[None]] = []

        async def started(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self.leaving.forget()
                await self.ops.open()
                running.append(asyncio.create_task(self.engine.keep_warm(scope)))
            await send(message)

        try:
            await self.app(scope, receive, started)
        finally:
            for task in running:
                task.cancel()
            await self.ops.close()

    def _last_words(self, send: Send) -> Send:
        """*send*, with the word to keep-alive clients that this pod is leaving."""

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start" and self.leaving.begun:
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        return send_on

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        # The path as sent must be the route letter by letter: nothing encoded, nothing to normalise.
        exact = scope.get("raw_path", path.encode()) == path.encode()
        if exact and (method, path) == ("GET", HEALTH):
            await self._answer_health(send)
        elif not exact or (method, path) not in self.routes:
            await self._refuse(send, "route", 404, f"{method} is not served here")
        elif not self.keys.accept(scope["headers"]):
            await self._refuse(send, "key", 401, "a valid key is wanted: Authorization: Bearer <key>")
        elif method != "POST":
            await self.app(_without_key(scope), receive, send)
        elif self.leaving.over:
            await self._refuse(send, "leaving", 503, "this engine is leaving; ask again")
        elif not self.engine.warm:
            await self._refuse(send, "warming", 503, "this engine is warming up; ask again")
        elif 0 < self.most_inside <= len(self.inside):
            await self._refuse(send, "full", 503, f"{len(self.inside)} requests are inside already; ask again")
        else:
            await self._generate(scope, receive, send)

    async def _generate(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on. An engine that stops under one just accepted breaks, or answers 500: that is a retry."""
        begun, request = False, object()

        async def send_on(message: Message) -> None:
            nonlocal begun
            begun = True
            if message.get("status") == 500 and self.leaving.over:
                self.refused["leaving"] += 1
                message = {**message, "status": 503, "headers": [*message["headers"], (b"retry-after", RETRY_AFTER_S)]}
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self.inside.discard(request)  # SGLang's application returns 2 s later
            await send(message)

        self.inside.add(request)
        try:
            both: tuple[Receive, Send] = (receive, send_on)
            if scope["path"] not in self.without_engine:
                both = self.engine.noting_answers(*both)
            await self.app(_without_key(scope), *both)
        except Exception:
            if begun or not self.leaving.over:
                raise
            await self._refuse(send, "leaving", 503, "this engine is leaving; ask again")
        finally:
            self.inside.discard(request)

    async def _answer_health(self, send: Send) -> None:
        status, text = await self._ready()
        await _respond(send, status, text, [(b"retry-after", RETRY_AFTER_S)] if status == 503 else [], b"text/plain")

    async def _refuse(self, send: Send, reason: str, status: int, message: str) -> None:
        self.refused[reason] += 1
        more = {401: [(b"www-authenticate", b"Bearer")], 503: [(b"retry-after", RETRY_AFTER_S)]}.get(status, [])
        body = {"error": {"message": message, "type": reason, "param": None, "code": status}}
        await _respond(send, status, json.dumps(body).encode(), more, b"application/json")

    async def _health(self) -> tuple[int, bytes]:
        return await self.engine.ask("GET", HEALTH)

    async def _ready(self) -> tuple[int, bytes]:
        """200 when a client would be served; else 503 and why not."""
        why_not = {
            # Not before: a Service without another ready pod still sends to the one that leaves.
            "leaving": self.leaving.over,
            "warming up": not self.engine.warm,
            "no key: every request is refused": not self.keys.present(),
        }
        if any(why_not.values()):
            return 503, "; ".join(why for why, holds in why_not.items() if holds).encode()
        return await self._health()

    async def _metrics(self) -> tuple[int, bytes]:
        status, engines_own = await self.engine.ask("GET", "/metrics")
        lines = [
            *_family(
                "qwenkit_ready", "gauge", "1 when the pod is warm and stays.", {"": (await self._ready())[0] == 200}
            ),
            *_family("qwenkit_in_flight", "gauge", "Requests of clients inside the engine.", {"": len(self.inside)}),
            *_family(
                "qwenkit_requests_refused_total",
                "counter",
                "Requests that did not reach the engine.",
                {f'{{reason="{reason}"}}': count for reason, count in self.refused.items()},
            ),
            *_family(
                "qwenkit_last_answer_timestamp_seconds",
                "gauge",
                "When the engine last answered anybody, the guard's own question included.",
                {"": self.engine.last_answer} if self.engine.last_answer else {},
            ),
        ]
        # An engine without metrics of its own is no reason to be blind.
        return 200, (engines_own if status == 200 else b"") + "\n".join([*lines, ""]).encode()


def _is_no_look(access: logging.LogRecord) -> bool:
    """Both waiting rooms look twice a second whether an engine answers; nothing else would be found in its log."""
    return not (isinstance(access.args, tuple) and access.args[1:3] == ("GET", HEALTH))


def _family(name: str, kind: str, words: str, samples: dict[str, float]) -> list[str]:
    return [f"# HELP {name} {words}", f"# TYPE {name} {kind}", *(f"{name}{at} {+n}" for at, n in samples.items())]


def _without_key(scope: Message) -> Message:
    """*scope* as the engine gets it: what it logs cannot show a key."""
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"authorization"]}


async def _respond(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]], kind: bytes) -> None:
    about = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": about})
    await send({"type": "http.response.body", "body": body})
