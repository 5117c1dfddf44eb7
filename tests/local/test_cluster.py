"""The real engine in a pod of the real cluster, asked by a client on this machine."""

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from local.cluster import Cluster
from local.errors import LocalError
from local.supervisor import FIXED_PATHS
from tests.waiting import patience

pytestmark = pytest.mark.cluster

READY_LIMIT_S = 240
ANSWER_LIMIT_S, GONE_LIMIT_S = 300, 600  # for what hangs, on a machine however busy
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}


@dataclass(frozen=True)
class Served:
    namespace: str
    url: str
    key: str

    def client(self, *, key: bool = True) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=ANSWER_LIMIT_S, trust_env=False)


@pytest.fixture(scope="module")
def served(cluster: Cluster, model_folder: Path) -> Iterator[Served]:
    """A Ready vLLM under Pod Security `restricted`: user 2000, read-only root, one GPU asked for."""
    with ExitStack() as ending:

        def delete(kind: str, name: str) -> None:
            ending.callback(cluster.kubectl, "delete", kind, name, "--ignore-not-found", f"--timeout={GONE_LIMIT_S}s")

        delete("persistentvolume", "local-test-model")
        delete("namespace", "local-test")
        namespace, key = cluster.namespace("local-test"), secrets.token_hex(8)
        cluster.add_model(namespace, "model", model_folder)
        manifest = (Path(__file__).parent / "engine.json").read_text()
        manifest = manifest.replace("@IMAGE@", cluster.engine_image).replace("@KEY@", key)
        cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=manifest)
        try:
            limit = f"--timeout={patience(READY_LIMIT_S):.0f}s"
            cluster.kubectl("-n", namespace, "rollout", "status", "deployment/engine", limit)
        except LocalError as error:
            told = cluster.kubectl("-n", namespace, "describe", "pods")[-3000:]
            logged = cluster.kubectl("-n", namespace, "logs", "deployment/engine", "--tail=40")
            pytest.fail(f"{error}\n{told}\n{logged}")
        yield Served(namespace, cluster.service_url(namespace, "engine"), key)


def test_a_chat_is_answered_through_the_service(served: Served) -> None:
    with served.client() as client:
        answer = client.post("/v1/chat/completions", json=CHAT)
    assert answer.status_code == 200, answer.text
    assert 1 <= answer.json()["usage"]["completion_tokens"] <= 8


def test_a_chat_without_the_key_is_refused(served: Served) -> None:
    with served.client(key=False) as client:
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 401


def test_a_stream_comes_in_pieces_and_ends_with_done(served: Served) -> None:
    with (
        served.client() as client,
        client.stream(
            "POST", "/v1/chat/completions", json=CHAT | {"stream": True, "max_tokens": 32, "ignore_eos": True}
        ) as answer,
    ):
        events = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert events[-1] == "[DONE]"
    assert len(events) > 4  # random bytes are held back until they are a letter


def test_thinking_can_be_switched_off_per_request(served: Served) -> None:
    with served.client() as client:
        lengths = [
            client.post("/v1/chat/completions", json=CHAT | {"chat_template_kwargs": settings}).json()["usage"]
            for settings in ({}, {"enable_thinking": False})
        ]
    assert lengths[1]["prompt_tokens"] > lengths[0]["prompt_tokens"]


def test_the_pod_has_the_only_gpu_that_the_node_claims(cluster: Cluster, served: Served) -> None:
    pod = json.loads(cluster.kubectl("-n", served.namespace, "get", "pods", "-o", "json"))["items"][0]
    node = json.loads(cluster.kubectl("get", "node", pod["spec"]["nodeName"], "-o", "json"))
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "1"


def test_a_pod_finds_a_service_by_its_name(cluster: Cluster, served: Served) -> None:
    script = "import socket; print(*{socket.gethostbyname(n) for n in ('engine', 'engine.local-test.svc')})"
    seen = cluster.kubectl("-n", served.namespace, "exec", "deployment/engine", "--", "python3", "-c", script)
    assert f"http://{seen.strip()}:80" == served.url


def test_the_model_is_read_only_for_the_engine(cluster: Cluster, served: Served) -> None:
    with pytest.raises(LocalError, match="Read-only file system"):
        cluster.kubectl("-n", served.namespace, "exec", "deployment/engine", "--", "touch", "/models/x")


def test_it_listens_on_no_socket_that_is_the_whole_machines(cluster: Cluster) -> None:
    bound = [line.split()[7:] for line in (cluster.network_namespace.parents[1] / "net/unix").read_text().splitlines()]
    paths = [path for found in bound for path in found if path.startswith("/")]
    assert str(cluster.setup.socket) in paths
    assert [path for path in paths if not path.startswith((str(cluster.setup.folder), *FIXED_PATHS))] == []


def test_a_restricted_namespace_refuses_a_pod_that_may_be_root(cluster: Cluster) -> None:
    namespace = cluster.namespace("local-strict")
    with pytest.raises(LocalError, match='violates PodSecurity "restricted'):
        cluster.kubectl("-n", namespace, "run", "any", f"--image={cluster.engine_image}")


def test_a_model_that_only_root_can_read_is_refused_with_the_remedy(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "weights").touch(mode=0o600)
    tmp_path.chmod(0o755)
    with pytest.raises(LocalError, match=r"weights is not readable for other users: chmod -R a\+rX"):
        cluster.add_model("default", "secret", tmp_path)
