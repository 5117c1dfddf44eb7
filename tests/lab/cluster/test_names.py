import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster.api import Api
from lab.cluster.names import Names
from tests.servers import serving

SERVICES = {"/api/v1/namespaces/llm/services/qwen": "10.197.0.7"}


class OneService(Api):
    """An API server that knows one Service; the real one is asked in test_on_a_cluster."""

    asked = 0

    def get(self, path: str) -> dict[str, object] | None:
        self.asked += 1
        return {"spec": {"clusterIP": SERVICES[path]}} if path in SERVICES else None


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    with serving(Names("127.0.0.1", OneService("", "", Path()), port=0)) as names:
        yield names.server_address  # type: ignore[misc]


def ask(server: tuple[str, int], name: str, kind: int) -> tuple[int, bytes]:
    """Answer code and address of a query for *name*."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    query = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + question + struct.pack(">HH", kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(120)
        client.sendto(query, server)
        answer = client.recv(512)
    identity, flags, _, count, _, _ = struct.unpack_from(">HHHHHH", answer)
    assert identity == 7
    assert answer[12:].startswith(question)
    return flags & 0xF, answer[-4:] if count else b""


def test_a_service_is_answered_with_its_cluster_ip(server: tuple[str, int]) -> None:
    assert ask(server, "qwen.llm.svc.cluster.local", 1) == (0, socket.inet_aton("10.197.0.7"))


def test_case_does_not_matter(server: tuple[str, int]) -> None:
    assert ask(server, "Qwen.LLM.svc.cluster.local", 1)[0] == 0


def test_an_existing_name_has_no_ipv6_address_and_is_not_denied(server: tuple[str, int]) -> None:
    assert ask(server, "qwen.llm.svc.cluster.local", 28) == (0, b"")


@pytest.mark.parametrize("name", ["other.llm.svc.cluster.local", "qwen.svc.cluster.local", "example.org"])
def test_other_names_do_not_exist(server: tuple[str, int], name: str) -> None:
    assert ask(server, name, 1) == (3, b"")


def test_an_address_is_asked_for_once_while_it_is_said_to_be_true(monkeypatch: pytest.MonkeyPatch) -> None:
    api, now = OneService("", "", Path()), [0.0]
    monkeypatch.setattr("lab.cluster.names.time.monotonic", lambda: now[0])
    with Names("127.0.0.1", api, port=0) as names:
        for seconds, asked in ((0.0, 1), (4.9, 1), (5.0, 2)):
            now[0] = seconds
            assert names.address_of("qwen.llm.svc.cluster.local") == "10.197.0.7"
            assert api.asked == asked
        assert names.address_of("other.llm.svc.cluster.local") is names.address_of("other.llm.svc.cluster.local")
        assert api.asked == 4  # what is not there may come at any moment
