"""
What clients see while engines come and go, on a real cluster with the real engine.

The steps need each other, in their order: the previous chart's release is upgraded, has two replicas on two GPUs,
then one on the last GPU, then one with a spare. An open stream is never cut.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.cluster import Cluster
from local.errors import LocalError
from tests.helm.bench import LEFT_LIMIT_S, READY_LIMIT_S, RELEASE, Bench, a_bench, wait_until
from tests.helm.traffic import CLEAN, CUT, OK, WHOLE, Traffic

pytestmark = pytest.mark.cluster

NAMESPACE = "leaving"
PREVIOUS = Path(__file__).parent / "previous"
# Handing the Service over takes kube-proxy up to two syncs; in it, both may be asked.
SETTLED_S = 5


@pytest.fixture(scope="module")
def bench(cluster: Cluster, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A release of the previous chart, Ready."""
    with a_bench(cluster, model_folder, tmp_path_factory.mktemp("values"), NAMESPACE) as made:
        [chart] = PREVIOUS.glob("*.tgz")
        made.helm("install", RELEASE, chart, "-f", PREVIOUS / "values.yaml", "--wait", f"--timeout={READY_LIMIT_S}s")
        yield made
        cluster.gpus(1)


def upgrade(bench: Bench, **values: Any) -> float:
    """Seconds of an upgrade to *values*."""
    return bench.upgrade(startup__budgetSeconds=400, **values)


def traffic(bench: Bench, **more: Any) -> Traffic:
    return Traffic(bench.cluster.service_url(NAMESPACE, RELEASE), bench.key(), stream_tokens=300, **more)


def under_traffic(bench: Bench, change: Callable[[], float]) -> Traffic:
    with traffic(bench) as seen:
        wait_until(lambda: seen.open_streams == 2, 60, "streams flow")
        seconds = change()
        time.sleep(SETTLED_S)
    print(f"{seconds:.1f} s; {seen}")
    return seen


def ready(bench: Bench, count: int) -> bool:
    """Whether there are *count* pods, each Ready and none on its way out."""
    conditions = [
        "deletionTimestamp" not in pod["metadata"]
        and {"type": "Ready", "status": "True"}.items()
        <= next((c for c in pod["status"].get("conditions", []) if c["type"] == "Ready"), {}).items()
        for pod in bench.pods()
    ]
    return conditions == [True] * count


def nobody_noticed(seen: Traffic) -> None:
    assert set(seen.ended("stream")) == {WHOLE}, seen
    assert set(seen.ended("fresh")) == {OK}, seen
    # A kept connection may be told to come again, once, by the pod it was kept to.
    assert set(seen.ended("kept")) <= {OK, CLEAN}, seen


def test_the_previous_charts_release_is_upgraded_without_cutting_a_stream(bench: Bench) -> None:
    key = bench.key()
    seen = under_traffic(bench, lambda: upgrade(bench))
    # What the old pod itself says on its way out is what the new chart is for.
    assert not seen.ended("stream")[CUT], seen
    assert seen.ended("stream")[WHOLE] >= 2, seen
    assert bench.key() == key
    assert ready(bench, 1)


def test_more_replicas_leave_the_running_one_alone(bench: Bench) -> None:
    bench.cluster.gpus(2)
    [first] = bench.pods()
    upgrade(bench, replicas=2)
    assert first["metadata"]["uid"] in [pod["metadata"]["uid"] for pod in bench.pods()]
    assert ready(bench, 2)


def test_an_overloaded_engine_is_not_killed(bench: Bench) -> None:
    with traffic(bench, streams=48, kept=0, fresh=False) as seen:
        wait_until(lambda: sum(seen.ended("stream").values()) >= 48, READY_LIMIT_S, "every stream had its turn")
    assert set(seen.ended("stream")) == {WHOLE}, seen
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in bench.pods()] == [0, 0]
    events = bench.kubectl("get", "events", "--field-selector=reason=Unhealthy", "--output=json")
    assert "Liveness" not in events


def test_nobody_notices_an_evicted_pod_and_the_budget_keeps_the_other(bench: Bench) -> None:
    first, second = (pod["metadata"]["name"] for pod in bench.pods())

    def change() -> float:
        began = time.monotonic()
        evict(bench, first)
        with pytest.raises(LocalError, match="disruption budget"):
            evict(bench, second)
        # Its successor's start is nothing that a client sees.
        wait_until(lambda: first not in [pod["metadata"]["name"] for pod in bench.pods()], LEFT_LIMIT_S, "it is gone")
        return time.monotonic() - began

    nobody_noticed(under_traffic(bench, change))


def evict(bench: Bench, pod: str) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
    bench.cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


def test_nobody_notices_an_upgrade_of_two_replicas(bench: Bench) -> None:
    wait_until(lambda: ready(bench, 2), READY_LIMIT_S, "the evicted pod's successor is there")
    nobody_noticed(under_traffic(bench, lambda: upgrade(bench, replicas=2, extraArgs=["--max-model-len", "4096"])))
    assert bench.context_length() == 4096


def test_on_the_last_gpu_an_upgrade_is_a_gap_of_clean_refusals(bench: Bench) -> None:
    upgrade(bench, extraArgs=["--max-model-len", "4096"])
    bench.cluster.gpus(1)
    wait_until(lambda: ready(bench, 1), READY_LIMIT_S, "one replica is left")
    seen = under_traffic(bench, lambda: upgrade(bench))
    assert set(seen.ended("stream")) <= {WHOLE, CLEAN}, seen
    assert set(seen.ended("fresh")) == {OK, CLEAN}, seen
    assert set(seen.ended("kept")) == {OK, CLEAN}, seen
    refused = seen.refusals_s()
    assert refused is not None
    after = [r for r in seen.records if (r.client, r.ended) == ("fresh", OK) and r.at_s > refused[1]]
    assert after, "the gap did not end"


def test_nobody_notices_an_upgrade_with_a_spare_gpu(bench: Bench) -> None:
    bench.cluster.gpus(2)
    more = {"rollout__spareReplicas": 1}
    nobody_noticed(under_traffic(bench, lambda: upgrade(bench, extraArgs=["--max-model-len", "2048"], **more)))
    assert bench.context_length() == 2048
