"""The demo's chat with a Service that does not do what it should."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import HTTPServer
from pathlib import Path

import pytest

from lab.demo.chat import Served, _chat
from lab.demo.screen import Screen
from sizing.errors import KitError
from sizing.plan.plan import Plan
from tests.servers import Quiet, serving

PLAN = Path(__file__).parents[3] / "deployments/laptop/plan.json"


class Service(HTTPServer):
    """Answers every question with *status*."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.status = 200


class Answering(Quiet):
    server: Service

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(Service()) as server:
        yield server


@pytest.mark.parametrize("status", [200, 403, 404, 500])
def test_only_a_401_shows_that_the_key_is_asked_for(service: Service, status: int) -> None:
    service.status = status
    url = f"http://127.0.0.1:{service.server_port}"
    with pytest.raises(KitError, match=f"the Service answered {status} without a key; 401 was expected"):
        _chat(Screen(), Served(Plan.load(PLAN), url, url), "key")
