"""
Weights from a gated hub on a real cluster: what is wrong is told, then a container brings them, and once is enough.

How long each start took is printed. The engine compiles nothing here: the CPU build would need a C++ compiler.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.cluster import Cluster
from tests.helm.bench import READY_LIMIT_S, RELEASE, Bench, a_bench, chat, wait_until
from tests.helm.chart import CHART, Values
from tests.helm.hub import Hub, serving

pytestmark = pytest.mark.cluster

NAMESPACE, CACHE, SECRET, TOKEN = "fetching", "kept", "hub-token", "hf_secret"


@pytest.fixture(scope="module")
def hub(cluster: Cluster, model_folder: Path) -> Iterator[Hub]:
    """The tiny model behind a gate, on the address that this machine has in the cluster's network."""
    files = {path.name: path.read_bytes() for path in model_folder.iterdir() if path.is_file()}
    address = cluster.setup.network.host
    with serving(Hub({"Qwen/tiny": files}, gated={"Qwen/tiny"}, tokens={TOKEN}), address, address) as served:
        yield served


@pytest.fixture(scope="module")
def bench(cluster: Cluster, hub: Hub, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The release, told to use a Secret that is not there yet, and a claim that keeps what was fetched."""
    with a_bench(cluster, model_folder, tmp_path_factory.mktemp("fetching"), NAMESPACE) as made:
        kept = made.folder / CACHE
        kept.mkdir()
        kept.chmod(0o777)
        _claim(made, kept)
        model = {"source": "hub", "uri": "Qwen/tiny", "endpoint": hub.url, "secret": SECRET}
        cache = {"type": "pvc", "existingClaim": CACHE}
        made.helm("install", RELEASE, CHART, "-f", made.values(model=model, cache=cache))
        yield made
    cluster.kubectl("delete", "persistentvolume", f"{NAMESPACE}-{CACHE}")


def _claim(bench: Bench, folder: Path) -> None:
    common = {"storageClassName": "", "accessModes": ["ReadWriteOnce"]}
    size = {"storage": "1Gi"}
    spec = {"capacity": size, "claimRef": {"namespace": NAMESPACE, "name": CACHE}, "hostPath": {"path": str(folder)}}
    volume = {"metadata": {"name": f"{NAMESPACE}-{CACHE}"}, "spec": common | spec}
    bench.cluster.api.create("/api/v1/persistentvolumes", volume)
    claim = common | {"volumeName": f"{NAMESPACE}-{CACHE}", "resources": {"requests": size}}
    path = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"
    bench.cluster.api.create(path, {"metadata": {"name": CACHE}, "spec": claim})


def fetching(bench: Bench) -> Values:
    """Status of the container that fetches, of the one pod; empty before there is one."""
    statuses = [one for pod in bench.pods() for one in pod["status"].get("initContainerStatuses", [])]
    return statuses[0] if len(statuses) == 1 else {}


def engine_pod(bench: Bench) -> str:
    """Name of the one engine's pod; ``deployment/qwen`` may mean a waiting room's, which joins with the same labels."""
    [pod] = bench.pods()
    name: str = pod["metadata"]["name"]
    return name


def fetch_log(bench: Bench) -> str:
    return bench.kubectl("logs", engine_pod(bench), "--container", "fetch")


def replace_the_pod(bench: Bench) -> float:
    """Seconds until another pod is Ready."""
    bench.kubectl("delete", "pod", engine_pod(bench))
    started = time.monotonic()
    bench.kubectl("rollout", "status", f"deployment/{RELEASE}", f"--timeout={READY_LIMIT_S}s")
    return time.monotonic() - started


def test_a_missing_secret_is_told_in_the_log_and_by_describe_without_a_crash_loop(bench: Bench) -> None:
    wait_until(lambda: fetching(bench).get("restartCount", 0) == 1, 120, "the trouble is told")
    wait_until(lambda: "running" in fetching(bench)["state"], 60, "it looks again")
    told = fetching(bench)["lastState"]["terminated"]["message"]
    assert told == f"there is no Secret {SECRET} with a key token in this namespace; create it or clear model.secret."
    assert f"error: {told}" in fetch_log(bench)
    assert told.partition(";")[0] in bench.kubectl("describe", "pods")


def test_with_the_secret_the_weights_come_and_the_engine_answers(bench: Bench) -> None:
    bench.kubectl("create", "secret", "generic", SECRET, f"--from-literal=token={TOKEN}")
    print(f"first start, with fetching: {replace_the_pod(bench):.1f} s")
    status, body = bench.ask("/v1/chat/completions", chat(), bench.key())
    assert status == 200, body
    log = fetch_log(bench)
    assert "model: complete" in log
    assert TOKEN not in log


def test_the_engine_can_neither_read_the_token_nor_change_the_weights(bench: Bench) -> None:
    def in_engine(script: str) -> str:
        return bench.kubectl("exec", engine_pod(bench), "--container", "engine", "--", "sh", "-c", script)

    assert "absent" in in_engine("test -e /run/secrets/model || echo absent")
    assert TOKEN not in in_engine("env; tr '\\0' '\\n' </proc/1/environ")
    assert "refused" in in_engine("touch /models/x 2>/dev/null || echo refused")


def test_a_second_start_asks_the_hub_nothing(bench: Bench, hub: Hub) -> None:
    hub.asked.clear()
    print(f"second start, from the claim: {replace_the_pod(bench):.1f} s")
    assert bench.ask("/v1/chat/completions", chat(), bench.key())[0] == 200
    assert hub.asked == []
    assert "nothing to fetch" in fetch_log(bench)
