"""
What clients see while engines come and go, on a real cluster with the real engine.

The steps need each other, in their order: the previous chart's release is upgraded, has two replicas on two GPUs,
then one on the last GPU, then one with a spare. An open stream is never cut.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.cluster import Cluster
from lab.tools.get import tool
from tests.helm.bench import LEFT_LIMIT_S, READY_LIMIT_S, RELEASE, Bench, a_bench
from tests.helm.chart import CHART
from tests.helm.gap import ready, the_gap_is_no_longer_than_it_must_be, wait_for_answers
from tests.helm.traffic import CLEAN, CUT, OK, WHOLE, Traffic
from tests.waiting import patience, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.steps]

NAMESPACE = "leaving"
PREVIOUS = Path(__file__).parent / "previous"


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
        wait_for_answers(seen)
    print(f"{seconds:.1f} s; {seen}")
    return seen


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


def test_a_claim_that_an_upgrade_cannot_change_is_named_before_anything_is_touched(bench: Bench) -> None:
    kept = {"accessModes": ["ReadWriteOnce"], "storageClassName": "slow", "resources": {"requests": {"storage": "2Gi"}}}
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": f"{RELEASE}-cache",
            "labels": {"app.kubernetes.io/managed-by": "Helm"},
            "annotations": {"meta.helm.sh/release-name": RELEASE, "meta.helm.sh/release-namespace": NAMESPACE},
        },
        "spec": kept,
    }
    bench.cluster.kubectl("-n", NAMESPACE, "create", "-f", "-", stdin=json.dumps(claim))
    other = {"type": "pvc", "accessMode": "ReadWriteMany", "storageClass": "quick", "size": "1Gi"}
    with pytest.raises(AssertionError) as said:
        upgrade(bench, cache=other)
    unnamed = bench.values(cache={"type": "pvc", "size": "2Gi"})
    assert 'storageClassName: "slow"' in bench.helm("upgrade", RELEASE, CHART, "-f", unnamed, "--dry-run=server")
    bench.kubectl("delete", "persistentvolumeclaim", f"{RELEASE}-cache")
    for key, asked, has in (
        ("accessMode", "ReadWriteMany", "ReadWriteOnce"),
        ("storageClass", "quick", "slow"),
        ("size", "1Gi", "2Gi"),
    ):
        assert f"cache.{key} is {asked} but the claim {RELEASE}-cache has {has}, which" in str(said.value)


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


def test_a_drained_node_loses_one_engine_at_a_time_and_nobody_notices(bench: Bench) -> None:
    before = {pod["metadata"]["name"] for pod in bench.pods()}

    def gone() -> set[str]:
        return before - {pod["metadata"]["name"] for pod in bench.pods()}

    with ExitStack() as ending:
        with traffic(bench) as seen:
            wait_until(lambda: seen.open_streams == 2, 60, "streams flow")
            draining = ending.enter_context(drain(bench))
            wait_until(lambda: len(gone()) == 1, LEFT_LIMIT_S, "the first engine is gone")
            wait_for_answers(seen)
        print(seen)
        nobody_noticed(seen)
        assert len(gone()) == 1
        # There is no other node for the successor, which the second engine waits for.
        bench.cluster.kubectl("uncordon", bench.cluster.setup.node)
        said, _ = draining.communicate(timeout=patience(READY_LIMIT_S))
    assert draining.returncode == 0, said
    assert "violate the pod's disruption budget" in said
    assert gone() == before


@contextmanager
def drain(bench: Bench, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Running; afterwards ended, and the node takes pods again."""
    command: list[str | Path] = [
        tool("kubectl"),
        "--kubeconfig",
        bench.cluster.kubeconfig,
        "drain",
        bench.cluster.setup.node,
    ]
    command += ["--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={READY_LIMIT_S}s", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as draining:
        try:
            yield draining
        finally:
            draining.terminate()
            bench.cluster.kubectl("uncordon", bench.cluster.setup.node)


def test_nobody_notices_an_upgrade_of_two_replicas(bench: Bench) -> None:
    # The drained engine's successor is still on its way: the only ready one leaves last.
    nobody_noticed(under_traffic(bench, lambda: upgrade(bench, replicas=2, extraArgs=["--max-model-len", "4096"])))
    assert bench.context_length() == 4096


def test_on_the_last_gpu_an_upgrade_is_a_gap_of_clean_refusals(bench: Bench) -> None:
    upgrade(bench, extraArgs=["--max-model-len", "4096"])
    bench.cluster.gpus(1)
    wait_until(lambda: ready(bench, 1), READY_LIMIT_S, "one replica is left")
    [old] = bench.pods()
    seen = under_traffic(bench, lambda: upgrade(bench))
    assert set(seen.ended("stream")) <= {WHOLE, CLEAN}, seen
    assert set(seen.ended("fresh")) == {OK, CLEAN}, seen
    assert set(seen.ended("kept")) == {OK, CLEAN}, seen
    [new] = bench.pods()
    the_gap_is_no_longer_than_it_must_be(bench, seen, old, new)


def test_a_drain_is_never_held_up_by_the_only_engine(bench: Bench) -> None:
    with drain(bench, "--dry-run=server") as draining:
        said, _ = draining.communicate(timeout=patience(60))
    assert draining.returncode == 0, said
    assert f"evicting pod {NAMESPACE}/{bench.pods()[0]['metadata']['name']} (server dry run)" in said


def test_nobody_notices_an_upgrade_with_a_spare_gpu(bench: Bench) -> None:
    bench.cluster.gpus(2)
    more = {"rollout__spareReplicas": 1}
    nobody_noticed(under_traffic(bench, lambda: upgrade(bench, extraArgs=["--max-model-len", "2048"], **more)))
    assert bench.context_length() == 2048
