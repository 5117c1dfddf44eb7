"""
Clients of a Service while its pods come and go: long streams, fresh connections, and connections that are kept.

``with Traffic(url, key) as traffic:`` runs them until the block ends; streams then go on to their end. Every request
leaves a record: which client, when, how long, and how it ended.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from urllib.parse import urlsplit

# Often enough to see a gap of half a second; what they cost, an engine that starts lacks.
FRESH_EVERY_S = 0.4
KEPT_EVERY_S = 1.5
READING_S = 5  # between two streams of a client; without it two cores have no time for an engine that starts
LIMIT_S = 300  # of silence; for an engine that hangs, not for one on a busy machine
HEADERS = {"Content-Type": "application/json"}

# Endings of a request. A clean refusal is a 503 that says when to come again.
OK, WHOLE, CUT, CLEAN = "200", "whole", "cut", "503 + Retry-After"
REFUSED, RESET, TIMEOUT = "refused", "reset", "timeout"


@dataclass(frozen=True)
class Record:
    """One request: its client (stream, fresh or kept), when it began (seconds since the traffic did), and its end."""

    client: str
    at_s: float
    seconds: float
    ended: str


class Traffic:
    """
    Clients of *url* with *key*.

    Args:
        streams: clients that read one stream after the other, each of *stream_tokens* tokens.
        kept: clients that ask over a connection they keep as long as the server does.
        fresh: whether a new connection asks every 400 ms.
    """

    def __init__(
        self, url: str, key: str, *, streams: int = 2, stream_tokens: int = 600, kept: int = 4, fresh: bool = True
    ) -> None:
        self._address = urlsplit(url).netloc
        self._headers = {**HEADERS, "Authorization": f"Bearer {key}"}
        self._stream_tokens = stream_tokens
        self._clients = [self._streams] * streams + [self._kept] * kept + [self._fresh] * fresh
        self._ending, self._counting = threading.Event(), threading.Lock()
        self._threads: list[threading.Thread] = []
        self.began_at = time.time()
        self.open_streams = 0
        self.records: list[Record] = []

    def __enter__(self) -> Traffic:
        self._began, self.began_at = time.monotonic(), time.time()
        for client in self._clients:
            self._start(client)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        while self._threads:
            self._threads.pop().join()

    # What was seen ---------------------------------------------------------------------------------------------------

    def ended(self, client: str) -> Counter[str]:
        """How often the requests of *client* ended how."""
        return Counter(record.ended for record in self.records if record.client == client)

    def refusals_s(self) -> tuple[float, float] | None:
        """When the first and the last fresh request that got no answer ended; None if all were answered."""
        times = [
            record.at_s + record.seconds for record in self.records if record.client == "fresh" and record.ended != OK
        ]
        return (min(times), max(times)) if times else None

    def longest_gap_s(self) -> float:
        """The longest time in which no fresh request was answered."""
        times = sorted(r.at_s + r.seconds for r in self.records if (r.client, r.ended) == ("fresh", OK))
        return max((later - earlier for earlier, later in pairwise(times)), default=float("inf"))

    def __str__(self) -> str:
        seen = [f"{client}: {_words(self.ended(client))}" for client in ("stream", "fresh", "kept")]
        refused = self.refusals_s()
        between = f", unanswered from {refused[0]:.1f} s to {refused[1]:.1f} s" if refused else ""
        return f"{'; '.join(seen)}; longest gap {self.longest_gap_s():.1f} s{between}"

    # Clients ---------------------------------------------------------------------------------------------------------

    def _streams(self) -> None:
        while not self._ending.is_set():
            body = {"stream": True, "stream_options": {"include_usage": True}}
            connection = self._connection()
            try:
                self._request("stream", connection, self._stream_tokens, self._read_stream, body)
            finally:
                connection.close()
            self._ending.wait(READING_S)

    def _fresh(self) -> None:
        following = time.monotonic()
        while not self._ending.is_set():
            self._start(self._one_fresh)
            following += FRESH_EVERY_S
            self._ending.wait(max(0.0, following - time.monotonic()))

    def _one_fresh(self) -> None:
        connection = self._connection()
        try:
            self._request("fresh", connection, 2, _read_answer)
        finally:
            connection.close()

    def _kept(self) -> None:
        connection = self._connection()
        while not self._ending.wait(KEPT_EVERY_S):
            # http.client connects anew where the server said "Connection: close", and only there.
            if self._request("kept", connection, 2, _read_answer) in (RESET, REFUSED, TIMEOUT):
                connection.close()
        connection.close()

    # One request -----------------------------------------------------------------------------------------------------

    def _request(
        self,
        client: str,
        connection: http.client.HTTPConnection,
        tokens: int,
        read: Callable[[http.client.HTTPResponse], str],
        more: dict[str, object] | None = None,
    ) -> str:
        chat = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}]}
        body = json.dumps({**chat, "max_tokens": tokens, "ignore_eos": True, **(more or {})})
        began = time.monotonic()
        try:
            connection.request("POST", "/v1/chat/completions", body, self._headers)
            response = connection.getresponse()
            if response.status == 200:
                ended = read(response)
            else:
                response.read()
                clean = response.status == 503 and response.headers["Retry-After"]
                ended = CLEAN if clean else str(response.status)
        except ConnectionRefusedError:
            ended = REFUSED
        except TimeoutError:
            ended = TIMEOUT
        except (OSError, http.client.HTTPException):
            ended = RESET
        self.records.append(Record(client, began - self._began, time.monotonic() - began, ended))
        return ended

    def _read_stream(self, response: http.client.HTTPResponse) -> str:
        """Whole: every token was counted and the end was said."""
        with self._counting:
            self.open_streams += 1
        try:
            lines = [line.strip() for line in response if line.strip()]
        except (OSError, http.client.HTTPException):
            return CUT
        finally:
            with self._counting:
                self.open_streams -= 1
        whole = lines[-1:] == [b"data: [DONE]"] and f'"completion_tokens":{self._stream_tokens}'.encode() in lines[-2]
        return WHOLE if whole else CUT

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._address, timeout=LIMIT_S)

    def _start(self, client: Callable[[], None]) -> None:
        thread = threading.Thread(target=client, daemon=True)
        thread.start()
        # Only then, for what is listed may be joined at once; whoever starts a client is joined after listing it.
        self._threads.append(thread)


def _read_answer(response: http.client.HTTPResponse) -> str:
    response.read()
    return OK


def _words(endings: Counter[str]) -> str:
    return ", ".join(f"{count} x {ending}" for ending, count in endings.most_common()) or "none"
