"""The waiting room: where it is rendered, what it may do, and what it says and does beside a stand-in API server."""

from __future__ import annotations

import http.client
import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.children import end
from tests.helm.chart import CHART, case, changed, pod_of, rendered
from tests.ports import free_port
from tests.servers import Quiet, serving
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


class Service(ThreadingHTTPServer):
    """A Service with an engine whose health is ``status``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Engine)
        self.status = 200


class Engine(Quiet):
    server: Service

    def do_GET(self) -> None:
        self.send_response(self.server.status)
        self.end_headers()


class Api(ThreadingHTTPServer):
    """An API server that lists which labels were ``asked`` for, and refuses the next ones with ``refusals``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Patched)
        self.asked: list[str] = []
        self.refusals: list[int] = []


class Patched(Quiet):
    server: Api

    def do_PATCH(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = (self.path, self.headers["Authorization"]) == ("/api/v1/namespaces/qwen/pods/room-0", "Bearer token")
        self.send_response((self.server.refusals.pop(0) if self.server.refusals else 200) if known else 403)
        self.end_headers()
        self.server.asked.append(asked["metadata"]["labels"]["component"])


@pytest.fixture
def engine() -> Iterator[Service]:
    with serving(Service()) as server:
        yield server


@pytest.fixture
def api() -> Iterator[Api]:
    with serving(Api()) as server:
        yield server


@pytest.fixture
def room(engine: Service, api: Api, tmp_path: Path) -> Iterator[int]:
    """Port of a waiting room."""
    (tmp_path / "token").write_text("token")
    # Without TLS; with it the real API server answers in test_leaving.py.
    code = (
        "from pathlib import Path; import types\n"
        f"source = Path({str(CHART / 'files/waiting_room.py')!r}).read_text()\n"
        "room = types.ModuleType('room'); exec(compile(source, 'waiting_room.py', 'exec'), room.__dict__)\n"
        f"room.ACCOUNT = Path({str(tmp_path)!r})\n"
        "room.ssl.create_default_context = lambda cafile: None\n"
        "plain = room.http.client.HTTPConnection\n"
        "room.http.client.HTTPSConnection = lambda address, timeout, context: plain(address, timeout=timeout)\n"
        "room.main()\n"
    )
    own = {"PORT": str(port := free_port()), "SERVICE": f"127.0.0.1:{engine.server_port}", "POD": "room-0"}
    own |= {"NAMESPACE": "qwen", "LABEL": "component", "ENGINE": "engine", "WAITING": "waiting"}
    own |= {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.server_port)}
    running = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **own})
    try:
        wait_until(lambda: len(api.asked) == 1, 20, "it has looked at the Service")
        yield port
    finally:
        end(running)


@pytest.mark.usefixtures("room")
def test_it_joins_when_the_engine_leaves_and_leaves_when_one_answers(engine: Service, api: Api) -> None:
    for status in (503, 200, 503):
        before = len(api.asked)
        engine.status = status
        wait_until(lambda before=before: len(api.asked) > before, 20, f"it saw {status}")  # type: ignore[misc]
    assert api.asked == ["waiting", "engine", "waiting", "engine"]


@pytest.mark.usefixtures("room")
def test_a_label_that_the_api_server_refuses_is_asked_for_until_it_is_taken(engine: Service, api: Api) -> None:
    api.refusals = [500, 409, 403]
    engine.status = 503
    wait_until(lambda: len(api.asked) >= 5, 20, "it asked again after each refusal")
    engine.status = 200
    wait_until(lambda: "waiting" in api.asked[1:], 20, "it left")
    assert api.asked == ["waiting", *["engine"] * 4, "waiting"]


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], bool | None]:
    """Whether an engine answers at a port of this machine, as a waiting room sees it that waits 0.2 s."""
    monkeypatch.syspath_prepend(str(CHART / "files"))
    room = importlib.import_module("waiting_room")
    monkeypatch.setattr(room, "ANSWER_LIMIT_S", 0.2)
    return lambda port: room.an_engine_answers(f"127.0.0.1:{port}")


@pytest.mark.parametrize("status", [200, 401, 404, 500, 503])
def test_any_answer_of_an_engine_but_503_is_one(
    look: Callable[[int], bool | None], engine: Service, status: int
) -> None:
    engine.status = status
    assert look(engine.server_port) is (status != 503)


def test_an_engine_that_is_too_busy_to_answer_is_not_gone(look: Callable[[int], bool | None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        assert look(busy.getsockname()[1]) is None


def test_where_nobody_listens_or_all_hang_up_no_engine_is(look: Callable[[int], bool | None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as leaving:
        port = leaving.getsockname()[1]
        hanging_up = Thread(target=lambda: leaving.accept()[0].close())
        hanging_up.start()
        assert look(port) is False
        hanging_up.join()
    assert look(port) is False


def test_a_name_that_cannot_be_found_says_nothing_about_the_engine(
    look: Callable[[int], bool | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", lost)
    assert look(80) is None


def test_two_waiting_rooms_do_not_take_each_other_for_an_engine_that_left(
    look: Callable[[int], bool | None], room: int
) -> None:
    assert look(room) is None


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_every_request_is_told_when_to_come_again(room: int, method: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", room, timeout=120)
    body = b"x" * 4_000_000 if method == "POST" else None
    connection.request(method, "/v1/chat/completions", body)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Connection"]) == (503, "close")
    assert int(answer.headers["Retry-After"]) > 0
    if method != "HEAD":
        assert json.loads(answer.read())["error"]["code"] == 503
    connection.close()
