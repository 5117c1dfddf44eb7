"""Autoscaling: KEDA owns the number of replicas, and everything that counts replicas knows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helm.chart import Values, case, changed, rendered

KEDA, LWS = "keda.sh/v1alpha1/ScaledObject", "leaderworkerset.x-k8s.io/v1/LeaderWorkerSet"
ASKED = {
    "enabled": True,
    "min": 1,
    "max": 4,
    "requestsPerReplica": 24,
    "prometheus": "http://prometheus.monitoring:9090",
}
EKS = changed(case("eks-vllm-two-replicas"), autoscaling=ASKED)
HOME = changed(case("home-sglang"), autoscaling=ASKED, cache={"type": "emptyDir"})


def scaled(helm: Path, values: Values) -> Values:
    [found] = rendered(helm, values, apis=(KEDA, LWS))["ScaledObject"]
    spec: Values = found["spec"]
    return spec


def test_nothing_scales_unless_asked_for(helm: Path) -> None:
    objects = rendered(helm, case("eks-vllm-two-replicas"), apis=(KEDA,))
    assert "ScaledObject" not in objects
    assert objects["Deployment"][0]["spec"]["replicas"] == 2


def test_the_number_of_replicas_is_left_to_keda(helm: Path) -> None:
    assert "replicas" not in rendered(helm, EKS, apis=(KEDA,))["Deployment"][0]["spec"]
    spec = scaled(helm, EKS)
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "qwen"}
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 4)


def test_groups_of_nodes_scale_as_a_whole(helm: Path) -> None:
    args = [*EKS["args"], "--pipeline-parallel-size", "2"]
    values = changed(EKS, args=args, gpu={"count": 2, "hosts": 2})
    [group] = rendered(helm, values, apis=(KEDA, LWS))["LeaderWorkerSet"]
    assert "replicas" not in group["spec"]
    target = {"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "name": "qwen"}
    assert scaled(helm, values)["scaleTargetRef"] == target


@pytest.mark.parametrize(
    ("values", "series"),
    [
        (EKS, "vllm:num_requests_running vllm:num_requests_waiting"),
        (HOME, "sglang:num_running_reqs sglang:num_queue_reqs"),
    ],
    ids=["vllm", "sglang"],
)
def test_the_question_is_the_engines_requests_of_this_release_in_one_number(
    helm: Path, values: Values, series: str
) -> None:
    [trigger] = scaled(helm, values)["triggers"]
    query = trigger["metadata"]["query"]
    assert query.startswith("sum(")
    assert all(name in query for name in series.split())
    assert query.count('namespace="qwen"') == 2
    assert trigger["metadata"]["threshold"] == "24"
    assert trigger["metadata"]["serverAddress"] == ASKED["prometheus"]


def test_a_prometheus_that_has_lost_the_engines_stops_none(helm: Path) -> None:
    assert scaled(helm, EKS)["triggers"][0]["metadata"]["ignoreNullValues"] == "false"


def test_a_replica_stays_longer_than_it_takes_to_start_it_again(helm: Path) -> None:
    for values, longest in ((EKS, 10 + 240 + 15 + 900 + 1100 + 303), (changed(EKS, startup__budgetSeconds=7200), 3600)):
        behaviour = scaled(helm, values)["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        assert behaviour["scaleDown"]["stabilizationWindowSeconds"] == longest


def test_one_replica_that_may_become_more_has_a_budget_and_keeps_apart(helm: Path) -> None:
    objects = rendered(helm, changed(EKS, replicas=1), apis=(KEDA,))
    assert objects["PodDisruptionBudget"][0]["spec"]["maxUnavailable"] == 1
    assert objects["Deployment"][0]["spec"]["template"]["spec"]["topologySpreadConstraints"]
