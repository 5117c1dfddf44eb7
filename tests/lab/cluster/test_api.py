"""Requests to the API server, here one without TLS; the real one is asked wherever a cluster starts."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import HTTPServer
from pathlib import Path

import certifi
import pytest

from lab.cluster.api import Api
from tests.servers import Quiet, serving


class Empty(Quiet):
    """An API server whose objects are all empty."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")


@pytest.fixture
def url() -> Iterator[str]:
    with serving(HTTPServer(("127.0.0.1", 0), Empty)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def test_a_proxy_of_the_environment_does_not_come_between(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # where nobody listens
    assert Api(url, "token", Path(certifi.where())).get("/version") == {}
