"""
Weights on a real cluster: from a gated hub by the pod itself, then by a Job for offline pods, then from a bucket.

What is wrong is told, what is mended is found, and once is enough. NetworkPolicies hold. How long each start took is
printed. The engine compiles nothing here: the CPU build would need a C++ compiler.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.cluster import Cluster
from lab.cluster.errors import LocalError
from tests.helm import bucket
from tests.helm import hub as hubs
from tests.helm.adapter import random_adapter
from tests.helm.bench import LEFT_LIMIT_S, READY_LIMIT_S, RELEASE, Bench, a_bench, chat
from tests.helm.bucket import Buckets
from tests.helm.chart import CHART, Values
from tests.helm.hub import COMMIT, Hub
from tests.helm.reach import Asked
from tests.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.steps, pytest.mark.usefixtures("policies")]

NAMESPACE, CACHE, TOKEN = "fetching", "kept", "hf_secret"
SECRET, JOBS_SECRET, BUCKETS_SECRET = "hub-token", "token-of-the-job", "keys-of-the-bucket"
WITH_ADAPTER = ["--enable-lora", "--lora-modules", "law=/adapters/law"]


@pytest.fixture(scope="module")
def repositories(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny model, and an adapter of it."""
    return {"tiny": model_folder, "law": random_adapter(tmp_path_factory.mktemp("adapter") / "law", rank=8)}


@pytest.fixture(scope="module")
def hub(cluster: Cluster, repositories: dict[str, Path]) -> Iterator[Hub]:
    """Both behind a gate, on the address that this machine has in the cluster's network."""
    gated = {
        f"Qwen/{name}": {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        for name, folder in repositories.items()
    }
    address = cluster.setup.network.host
    with hubs.serving(Hub(gated, gated=set(gated), tokens={TOKEN}), address, address) as served:
        yield served


@pytest.fixture(scope="module")
def buckets(
    cluster: Cluster, repositories: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Buckets]:
    """Both in the bucket ``weights``, for who signs with its key."""
    folder = tmp_path_factory.mktemp("buckets")
    for name, held in repositories.items():
        shutil.copytree(held, folder / "weights" / name)
    with bucket.serving(folder, cluster.setup.network.host) as served:
        yield served


@pytest.fixture(scope="module")
def bench(cluster: Cluster, hub: Hub, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The release, told to use a Secret that is not there yet, and a claim that keeps what was fetched."""
    with a_bench(cluster, model_folder, tmp_path_factory.mktemp("fetching"), NAMESPACE) as made:
        made.add_claim(CACHE, made.folder / CACHE)
        made.helm("install", RELEASE, CHART, "-f", values(made, from_hub(hub, secret=SECRET)))
        yield made
    cluster.kubectl("delete", "persistentvolume", f"{NAMESPACE}-{CACHE}")


def from_hub(hub: Hub, **more: Any) -> Values:
    return {"source": "hub", "uri": "Qwen/tiny", "endpoint": hub.url, **more}


def values(bench: Bench, model: Values, **more: Any) -> Path:
    """With the claim, and this machine as the client."""
    clients = [{"ipBlock": {"cidr": f"{bench.cluster.setup.network.host}/32"}}]
    cache = {"type": "pvc", "existingClaim": CACHE}
    return bench.values(model=model, cache=cache, networkPolicy={"from": clients}, **more)


def pods(bench: Bench, component: str = "engine") -> list[Values]:
    """Those of the engine, or of the Job (``fetch``), that stay."""
    labelled = (pod for pod in bench.pods() if pod["metadata"]["labels"]["app.kubernetes.io/component"] == component)
    return [pod for pod in labelled if "deletionTimestamp" not in pod["metadata"]]


def fetching(bench: Bench, component: str = "engine") -> Values:
    """Status of the container that fetches, in the one pod of *component*; empty before there is one."""
    kind = "initContainerStatuses" if component == "engine" else "containerStatuses"
    statuses = [one for pod in pods(bench, component) for one in pod["status"].get(kind, [])]
    return statuses[0] if len(statuses) == 1 else {}


def pod_name(bench: Bench, component: str = "engine") -> str:
    """``deployment/qwen`` may mean a waiting room's pod, which joins with the same labels."""
    [pod] = pods(bench, component)
    name: str = pod["metadata"]["name"]
    return name


def fetch_log(bench: Bench, component: str = "engine") -> str:
    """What it has said; nothing before it runs."""
    try:
        return bench.kubectl("logs", pod_name(bench, component), "--container", "fetch")
    except (LocalError, ValueError):
        return ""


def trouble(bench: Bench, component: str = "engine") -> str:
    """The sentence that it ended with, once it looks again."""
    wait_until(lambda: fetching(bench, component).get("restartCount", 0) == 1, 120, "the trouble is told")
    wait_until(lambda: "running" in fetching(bench, component)["state"], 60, "it looks again")
    said: str = fetching(bench, component)["lastState"]["terminated"]["message"]
    return said


def jobs(bench: Bench) -> list[Values]:
    found: list[Values] = json.loads(bench.kubectl("get", "jobs", "--output=json"))["items"]
    return found


def until_ready(bench: Bench) -> float:
    """Seconds until the engine is Ready."""
    started = time.monotonic()
    bench.kubectl("rollout", "status", f"deployment/{RELEASE}", f"--timeout={READY_LIMIT_S}s")
    return time.monotonic() - started


def in_engine(bench: Bench, *command: str) -> str:
    return bench.kubectl("exec", pod_name(bench), "--container", "engine", "--", *command)


def replace_the_pod(bench: Bench) -> float:
    """Seconds until another pod is Ready."""
    bench.kubectl("delete", "pod", pod_name(bench))
    return until_ready(bench)


def test_a_missing_secret_is_told_in_the_log_and_by_describe_without_a_crash_loop(bench: Bench) -> None:
    told = trouble(bench)
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
    assert "absent" in in_engine(bench, "sh", "-c", "test -e /run/secrets/model || echo absent")
    assert TOKEN not in in_engine(bench, "sh", "-c", "env; tr '\\0' '\\n' </proc/1/environ")
    assert "refused" in in_engine(bench, "sh", "-c", "touch /models/x 2>/dev/null || echo refused")


def test_a_second_start_asks_the_hub_nothing(bench: Bench, hub: Hub) -> None:
    hub.asked.clear()
    bench.kubectl("delete", "pod", pod_name(bench))
    # The engine then starts from the very files that the first one read.
    wait_until(lambda: "nothing to fetch" in fetch_log(bench), LEFT_LIMIT_S, "the claim has all")
    wait_until(lambda: "terminated" in fetching(bench).get("state", {}), LEFT_LIMIT_S, "the engine's turn")
    assert fetching(bench)["state"]["terminated"]["exitCode"] == 0
    assert hub.asked == []


def test_where_pods_are_offline_a_job_says_what_is_missing_and_so_does_the_pod_that_waits(
    bench: Bench, hub: Hub
) -> None:
    model = from_hub(hub, revision=COMMIT, secret=JOBS_SECRET, predownload=True)
    adapters = [{"name": "law", "uri": "Qwen/law"}]
    offline = values(bench, model, offline=True, adapters=adapters, extraArgs=WITH_ADAPTER)
    bench.helm("upgrade", RELEASE, CHART, "-f", offline)
    told = trouble(bench, "fetch")
    assert told.startswith(f"there is no Secret {JOBS_SECRET} with a key token in this namespace;")
    assert f"error: {told}" in fetch_log(bench, "fetch")
    assert told.partition(";")[0] in bench.kubectl("describe", "pod", pod_name(bench, "fetch"))
    wait_until(lambda: f"the Job that fetches it; it says: {told}" in fetch_log(bench), LEFT_LIMIT_S, "the pod says so")
    assert hub.asked == []


def test_with_its_secret_the_job_completes_and_the_engine_answers_without_reaching_the_hub(
    bench: Bench, hub: Hub
) -> None:
    bench.kubectl("create", "secret", "generic", JOBS_SECRET, f"--from-literal=token={TOKEN}")
    bench.kubectl("delete", "pod", pod_name(bench, "fetch"))  # else it looks again after minutes
    wait_until(lambda: jobs(bench)[0]["status"].get("succeeded") == 1, READY_LIMIT_S, "the Job completes")
    asked = list(hub.asked)
    assert {"config.json", "adapter_config.json"} <= set(hub.fetched())
    # The engine's pod has no token to ask with, and could not connect.
    assert {one.authorization for one in asked if "/storage/" not in one.path} == {f"Bearer {TOKEN}"}
    print(f"start after the Job: {until_ready(bench):.1f} s")
    for name in ("tiny", "law"):
        status, body = bench.ask("/v1/chat/completions", chat(model=name), bench.key())
        assert status == 200, body
    assert hub.asked == asked
    assert all(f"{name}: complete" in fetch_log(bench) for name in ("model", "law"))
    address, _, port = hub.url.removeprefix("http://").partition(":")
    pod = Asked(lambda *command: (True, in_engine(bench, *command)), control=("127.0.0.1", 8000))
    assert pod.reached({"hub": (address, int(port))}) == []


def test_another_revision_is_another_job_and_the_finished_one_goes(bench: Bench, hub: Hub) -> None:
    [before] = jobs(bench)
    bench.kubectl("get", "pod", pod_name(bench, "fetch"))  # kept for its log
    model = from_hub(hub, secret=JOBS_SECRET, predownload=True)
    nobody = values(bench, model, offline=True, replicas=0)
    bench.helm("upgrade", RELEASE, CHART, "-f", nobody, "--wait", f"--timeout={READY_LIMIT_S}s")
    wait_until(lambda: [job["status"].get("succeeded") for job in jobs(bench)] == [1], READY_LIMIT_S, "one Job, done")
    [after] = jobs(bench)
    assert after["metadata"]["name"] != before["metadata"]["name"]
    wait_until(lambda: len(pods(bench, "fetch")) == 1, LEFT_LIMIT_S, "the pod of the earlier one is gone")
    assert pod_name(bench, "fetch").startswith(after["metadata"]["name"])
    assert "nothing to fetch" in fetch_log(bench, "fetch")


def test_a_wrong_key_of_a_bucket_is_told_and_no_job_is_left(bench: Bench, buckets: Buckets) -> None:
    keys = (f"--from-literal=AWS_ACCESS_KEY_ID={bucket.KEY}", "--from-literal=AWS_SECRET_ACCESS_KEY=guessed")
    bench.kubectl("create", "secret", "generic", BUCKETS_SECRET, *keys)
    model = {"source": "s3", "uri": "s3://weights/tiny", "endpoint": buckets.url, "secret": BUCKETS_SECRET}
    adapters = [{"name": "law", "uri": "s3://weights/law"}]
    bench.helm("upgrade", RELEASE, CHART, "-f", values(bench, model, adapters=adapters, extraArgs=WITH_ADAPTER))
    assert trouble(bench) == (
        f"s3://weights/tiny/ answers SignatureDoesNotMatch to the credentials of Secret {BUCKETS_SECRET}; "
        f"correct its AWS_SECRET_ACCESS_KEY."
    )
    wait_until(lambda: not jobs(bench) and not pods(bench, "fetch"), LEFT_LIMIT_S, "the Job is gone")


def test_with_the_right_key_the_engine_answers_from_the_bucket(bench: Bench) -> None:
    right = {"stringData": {"AWS_SECRET_ACCESS_KEY": bucket.SECRET}}
    bench.kubectl("patch", "secret", BUCKETS_SECRET, "--patch", json.dumps(right))
    print(f"start from a bucket: {replace_the_pod(bench):.1f} s")
    for name in ("tiny", "law"):
        status, body = bench.ask("/v1/chat/completions", chat(model=name), bench.key())
        assert status == 200, body
    log = fetch_log(bench)
    assert all(f"{name}: complete" in log for name in ("model", "law"))
    assert bucket.SECRET not in log
