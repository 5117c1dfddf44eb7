"""The waiting room: where it is rendered, what it may do, and what it says and does beside a stand-in API server."""

from __future__ import annotations

import http.client
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.children import end
from tests.helm.chart import CHART, case, changed, pod_of, rendered
from tests.ports import free_port
from tests.waiting import wait_until

EKS, HOME = "eks-vllm-two-replicas", "home-sglang"
KEDA = "keda.sh/v1alpha1/ScaledObject"


def names(objects: dict[str, Any]) -> set[str]:
    return {f"{kind}/{item['metadata']['name']}" for kind, items in objects.items() for item in items}


def test_only_one_replica_without_a_spare_has_a_waiting_room(helm: Path) -> None:
    def rooms(name: str, **changes: Any) -> int:
        return len(
            [n for n in names(rendered(helm, changed(case(name), **changes), apis=(KEDA,))) if "waiting-room" in n]
        )

    one = {"cache__type": "emptyDir"}
    assert rooms(HOME) == 5
    assert rooms(HOME, networkPolicy__enabled=False) == 4
    assert rooms(EKS) == rooms(HOME, rollout__waitingRoom=False) == 0
    scaled = {"autoscaling__enabled": True, "autoscaling__prometheus": "http://p:9090", **one}
    assert rooms(HOME, autoscaling__min=2, **scaled) == 0
    assert rooms(HOME, autoscaling__min=1, **scaled) == 5
    assert rooms(HOME, replicas=2, **one) == rooms(HOME, rollout__spareReplicas=1, **one) == 0


def test_who_waits_for_a_roll_out_waits_until_the_room_has_left(helm: Path) -> None:
    def waits(name: str) -> bool:
        [engine] = rendered(helm, case(name))["Deployment"]
        return "minReadySeconds" in engine["spec"]

    assert waits(HOME)
    assert not waits(EKS)


def test_it_may_change_its_own_pods_only(helm: Path) -> None:
    objects = rendered(helm, case(HOME))
    [role], [room] = objects["Role"], objects["StatefulSet"]
    pods = [f"qwen-waiting-room-{i}" for i in range(room["spec"]["replicas"])]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "resourceNames": pods, "verbs": ["patch"]}]
    assert room["spec"]["template"]["spec"]["serviceAccountName"] == "qwen-waiting-room"
    assert pod_of(objects)["serviceAccountName"] == "qwen"


def test_it_is_no_engine_until_it_takes_the_label_that_the_service_selects(helm: Path) -> None:
    objects = rendered(helm, case(HOME))
    [room], [service, _] = objects["StatefulSet"], objects["Service"]
    labels = room["spec"]["template"]["metadata"]["labels"]
    [container] = room["spec"]["template"]["spec"]["containers"]
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    selector = service["spec"]["selector"]
    assert not selector.items() <= labels.items()
    assert selector.items() <= {**labels, environment["LABEL"]: environment["ENGINE"]}.items()
    assert labels[environment["LABEL"]] == environment["WAITING"]
    assert environment["LABEL"] not in room["spec"]["selector"]["matchLabels"], "it would lose its pods"
    engine = objects["Deployment"][0]["spec"]["selector"]["matchLabels"]
    assert not room["spec"]["selector"]["matchLabels"].items() <= engine.items()


@pytest.mark.parametrize("of", ["qwen", "qwen-waiting-room"])
def test_listed_clients_do_not_lock_the_waiting_room_out_of_what_is_behind_the_service(helm: Path, of: str) -> None:
    clients = [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]
    objects = rendered(helm, changed(case(HOME), networkPolicy__from=clients))
    [policy] = [policy for policy in objects["NetworkPolicy"] if policy["metadata"]["name"] == of]
    labels = objects["StatefulSet"][0]["spec"]["template"]["metadata"]["labels"]
    [rule] = [rule for rule in policy["spec"]["ingress"] if {"port": "http"} in rule["ports"]]
    selectors = [peer["podSelector"]["matchLabels"] for peer in rule["from"] if "podSelector" in peer]
    assert any(selector.items() <= labels.items() for selector in selectors)


class Engine(BaseHTTPRequestHandler):
    """A Service's engine whose health is its server's ``status``."""

    def do_GET(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def engine() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Engine) as server:
        server.status = 200  # type: ignore[attr-defined]
        serving = Thread(target=server.serve_forever, daemon=True)
        serving.start()
        yield server
        server.shutdown()
        serving.join()


@pytest.fixture
def room(engine: ThreadingHTTPServer, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Port of a waiting room, and the file of the labels it wants to take."""
    asked = tmp_path / "labels"
    # The API server is a function here; the real one answers in test_leaving.py.
    code = (
        "import runpy, sys; from pathlib import Path; import types\n"
        f"source = Path({str(CHART / 'files/waiting_room.py')!r}).read_text()\n"
        "room = types.ModuleType('room'); exec(compile(source, 'waiting_room.py', 'exec'), room.__dict__)\n"
        f"room.take_label = lambda value: Path({str(asked)!r}).open('a').write(value + '\\n')\n"
        "room.main()\n"
    )
    port = free_port()
    own = {"PORT": str(port), "SERVICE": f"127.0.0.1:{engine.server_port}", "ENGINE": "engine", "WAITING": "waiting"}
    running = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **own})
    try:
        wait_until(asked.exists, 20, "it has looked at the Service")
        yield port, asked
    finally:
        end(running)


def test_it_joins_when_the_engine_leaves_and_leaves_when_one_answers(
    engine: ThreadingHTTPServer, room: tuple[int, Path]
) -> None:
    _, asked = room
    for status in (503, 200, 503):
        before = len(asked.read_text().split())
        engine.status = status  # type: ignore[attr-defined]
        wait_until(lambda before=before: len(asked.read_text().split()) > before, 20, f"it saw {status}")  # type: ignore[misc]
    assert asked.read_text().split() == ["waiting", "engine", "waiting", "engine"]


def test_two_waiting_rooms_do_not_take_each_other_for_an_engine_that_left(room: tuple[int, Path]) -> None:
    module = runpy.run_path(str(CHART / "files/waiting_room.py"))
    assert module["an_engine_answers"](f"127.0.0.1:{room[0]}") is None


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_every_request_is_told_when_to_come_again(room: tuple[int, Path], method: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", room[0], timeout=120)
    body = b"x" * 4_000_000 if method == "POST" else None
    connection.request(method, "/v1/chat/completions", body)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Connection"]) == (503, "close")
    assert int(answer.headers["Retry-After"]) > 0
    if method != "HEAD":
        assert json.loads(answer.read())["error"]["code"] == 503
    connection.close()
