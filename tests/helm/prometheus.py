"""A real Prometheus on this machine for as long as a test needs it, and what it says of expressions and alerts."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from lab.tools import get
from tests.children import end
from tests.helm.chart import Values
from tests.ports import free_port
from tests.servers import Quiet, serving
from tests.waiting import wait_until

SCRAPED_EVERY_S = 1
START_LIMIT_S = 30
ANSWER_LIMIT_S = 120  # a client's cannot be moved while it waits: for a server that hangs


def install() -> None:
    """Prometheus and promtool, of Debian; not as the service that Debian makes of it."""
    if shutil.which("prometheus") and shutil.which("promtool"):
        return
    get.apt("prometheus")
    subprocess.run(["systemctl", "disable", "--now", "prometheus"], capture_output=True, check=False)


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    url: str

    def get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(
            f"{self.url}{path}?{urllib.parse.urlencode(query)}", timeout=ANSWER_LIMIT_S
        ) as answer:
            return json.load(answer)["data"]

    def series(self, expression: str) -> list[Values]:
        """What *expression* is now: a list of {metric, value}; a refused one raises."""
        found: list[Values] = self.get("/api/v1/query", query=expression)["result"]
        return found

    def value(self, expression: str) -> float:
        """The one number that *expression* is now."""
        [only] = self.series(expression)
        return float(only["value"][1])

    def firing(self) -> dict[str, Values]:
        """Alerts that fire now, by name, with their labels, annotations and value; one of each name."""
        return {
            alert["labels"]["alertname"]: alert
            for alert in self.get("/api/v1/alerts")["alerts"]
            if alert["state"] == "firing"
        }

    def wait_for(self, expression: str, limit_s: float = START_LIMIT_S) -> None:
        wait_until(lambda: bool(self.series(expression)), limit_s, f"{expression} has series")


@contextmanager
def running(folder: Path, scraped: list[Values], rules: list[Values] | None = None) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the *scraped* (scrape_configs) every second and evaluates *rules* (groups) as often."""
    install()
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": rules or []}))
    every = {"scrape_interval": f"{SCRAPED_EVERY_S}s", "evaluation_interval": f"{SCRAPED_EVERY_S}s"}
    config = {"global": every, "rule_files": [str(folder / "rules.yml")], "scrape_configs": scraped}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as server:
        try:
            wait_until(
                lambda: answers(f"http://{address}/-/ready") or server.poll() is not None,
                START_LIMIT_S,
                "Prometheus is ready",
            )
            assert server.poll() is None, (folder / "log").read_text()[-1000:]
            yield Prometheus(f"http://{address}")
        finally:
            end(server)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_LIMIT_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def exposed(exposition: Callable[[], str]) -> Iterator[str]:
    """The address (host:port) of an exporter whose /metrics are *exposition* at the time of asking."""

    class Exporter(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(exposition().encode())

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Exporter)) as server:
        yield f"127.0.0.1:{server.server_address[1]}"
