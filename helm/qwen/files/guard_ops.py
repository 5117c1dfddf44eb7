"""The second port, for the kubelet and Prometheus: a few answers to GET, in the engine's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

ONE_REQUEST_S = 5.0

Answer = Callable[[], Awaitable[tuple[int, bytes]]]


class Ops:
    """Serves *answers* (path -> status and text) on *port* of every interface."""

    def __init__(self, port: int, answers: dict[str, Answer]) -> None:
        self._port = port
        self._answers = answers
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, None, self._port)

    async def close(self) -> None:
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ONE_REQUEST_S)
            method, _, rest = head.partition(b" ")
            path = rest.partition(b" ")[0].partition(b"?")[0].decode(errors="replace")
            answer = self._answers.get(path) if method == b"GET" else None
            status, body = await answer() if answer else (404, b"not found")
            lines = [
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
                "Content-Type: text/plain; version=0.0.4; charset=utf-8",
                f"Content-Length: {len(body)}",
                "Connection: close",
            ]
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            await asyncio.wait_for(writer.drain(), ONE_REQUEST_S)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError, OSError):  # noqa: UP041 (Python 3.10)
            pass  # whoever asked has gone, or asked for nothing
        finally:
            writer.close()
