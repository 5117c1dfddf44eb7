"""A replica on several nodes: one LeaderWorkerSet, whose leaders serve and whose workers hold the other stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests.helm.chart import Objects, Values, case, changed, refusal, rendered

LWS = "leaderworkerset.x-k8s.io/v1/LeaderWorkerSet"
CASES = {
    "vllm": changed(
        case("eks-vllm-two-replicas"),
        args=[*case("eks-vllm-two-replicas")["args"], "--pipeline-parallel-size", "2"],
        gpu={"count": 2, "hosts": 2},
    ),
    "sglang": changed(
        case("home-sglang"),
        args=[*case("home-sglang")["args"], "--pp-size", "3"],
        gpu={"count": 1, "hosts": 3},
        cache={"type": "emptyDir"},
    ),
}
PLACE = ["$(LWS_GROUP_SIZE)", "$(LWS_WORKER_INDEX)"]


@pytest.fixture(params=sorted(CASES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def objects(helm: Path, name: str) -> Objects:
    return rendered(helm, CASES[name], apis=(LWS,))


def templates(objects: Objects) -> tuple[Values, Values]:
    [group] = objects["LeaderWorkerSet"]
    both = group["spec"]["leaderWorkerTemplate"]
    return both["leaderTemplate"], both["workerTemplate"]


def engines(objects: Objects) -> tuple[Values, Values]:
    leader, worker = templates(objects)
    return leader["spec"]["containers"][0], worker["spec"]["containers"][0]


def test_a_group_takes_the_place_of_the_deployment(objects: Objects, name: str) -> None:
    assert "Deployment" not in objects
    [group] = objects["LeaderWorkerSet"]
    assert group["spec"]["replicas"] == CASES[name].get("replicas", 1)
    assert group["spec"]["leaderWorkerTemplate"]["size"] == CASES[name]["gpu"]["hosts"]
    assert group["spec"]["leaderWorkerTemplate"]["restartPolicy"] == "RecreateGroupOnPodRestart"


@pytest.mark.parametrize("kube", ["1.30", "1.37"])
def test_both_templates_are_valid_pods(objects: Objects, kube: str) -> None:
    for template in templates(objects):
        pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "p", **template["metadata"]}}
        kubernetes_validate.validate(pod, kube, strict=True)


def test_every_pod_learns_its_place_from_the_group(objects: Objects, name: str) -> None:
    planned = CASES[name]["args"]
    for engine in engines(objects):
        assert engine["args"][: len(planned)] == planned
        assert [argument for argument in engine["args"] if argument in PLACE] == PLACE
        assert any("$(LWS_LEADER_ADDRESS)" in argument for argument in engine["args"])


def test_only_vllms_workers_are_told_to_have_no_server(helm: Path) -> None:
    leader, worker = engines(rendered(helm, CASES["vllm"], apis=(LWS,)))
    # vLLM 0.32.0 entrypoints/cli/serve.py ends at --headless with a count above 0, which the guard's arguments have.
    assert worker["args"] == [*leader["args"], "--headless", "--api-server-count", "0"]
    leader, worker = engines(rendered(helm, CASES["sglang"], apis=(LWS,)))
    assert worker["args"] == leader["args"]


def test_workers_are_asked_for_nothing_that_only_a_server_answers(objects: Objects) -> None:
    leader, worker = engines(objects)
    assert {"ports", "startupProbe", "readinessProbe", "livenessProbe"} <= leader.keys()
    assert not {"ports", "startupProbe", "readinessProbe", "livenessProbe"} & worker.keys()


def test_workers_stay_as_long_as_their_leader_drains(objects: Objects, name: str) -> None:
    _, worker = engines(objects)
    drain_s = CASES[name].get("drain", {}).get("seconds", 120)
    assert worker["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", str(10 + drain_s)]
    assert templates(objects)[1]["spec"]["terminationGracePeriodSeconds"] == 10 + drain_s + 15


def test_each_pod_has_its_own_gpus_and_shared_memory(objects: Objects, name: str) -> None:
    for template in templates(objects):
        [engine] = template["spec"]["containers"]
        assert engine["resources"]["limits"]["nvidia.com/gpu"] == CASES[name]["gpu"]["count"]
        assert "shm" in {volume["name"] for volume in template["spec"]["volumes"]}


def test_the_services_send_to_leaders_only(objects: Objects) -> None:
    for service in objects["Service"]:
        assert service["spec"]["selector"]["leaderworkerset.sigs.k8s.io/worker-index"] == "0"


def test_the_pods_of_a_group_reach_each_other_and_the_names(objects: Objects) -> None:
    [policy] = [one for one in objects["NetworkPolicy"] if one["metadata"]["name"] == "qwen-group"]
    pods = {"podSelector": policy["spec"]["podSelector"]}
    assert pods["podSelector"]["matchLabels"].items() <= templates(objects)[1]["metadata"]["labels"].items()
    assert policy["spec"]["ingress"] == [{"from": [pods]}]
    assert policy["spec"]["egress"][0] == {"to": [pods]}
    assert {port["port"] for port in policy["spec"]["egress"][1]["ports"]} == {53}


def test_a_roll_out_of_groups_waits_for_no_spare_gpu_either(helm: Path) -> None:
    for spare, most in ((0, {"maxSurge": 0, "maxUnavailable": 1}), (2, {"maxSurge": 2, "maxUnavailable": 0})):
        objects = rendered(helm, changed(CASES["vllm"], rollout__spareReplicas=spare), apis=(LWS,))
        [group] = objects["LeaderWorkerSet"]
        assert group["spec"]["rolloutStrategy"] == {"type": "RollingUpdate", "rollingUpdateConfiguration": most}


REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "GPUs contradict TP x PP": ({"gpu": {"count": 4, "hosts": 2}}, ("2 x 2 GPUs", "gpu.count is 4 and gpu.hosts is 2")),
    "the place in args": ({"extraArgs": ["--node-rank=0"]}, ("--node-rank", "gpu.hosts")),
    "a single writer": (
        {"replicas": 1, "rollout__spareReplicas": 0, "cache": {"type": "pvc"}},
        ("is 2", "ReadWriteOnce"),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_chart_refuses(helm: Path, what: str) -> None:
    change, words = REFUSED[what]
    said = refusal(helm, changed(CASES["vllm"], **change), apis=(LWS,))
    assert all(word in said for word in words), said


def test_without_its_custom_resource_a_group_is_refused(helm: Path) -> None:
    said = refusal(helm, CASES["vllm"])
    assert "(gpu.hosts) is on but the cluster has no leaderworkerset.x-k8s.io/v1/LeaderWorkerSet" in said


def test_replicas_of_one_node_keep_apart_where_they_can(helm: Path) -> None:
    spec = rendered(helm, case("eks-vllm-two-replicas"))["Deployment"][0]["spec"]["template"]["spec"]
    keys = {one["topologyKey"]: one["whenUnsatisfiable"] for one in spec["topologySpreadConstraints"]}
    assert keys == {"topology.kubernetes.io/zone": "ScheduleAnyway", "kubernetes.io/hostname": "ScheduleAnyway"}


def test_the_priority_class_is_passed_on(helm: Path) -> None:
    values = changed(case("home-sglang"), priorityClassName="serving")
    assert rendered(helm, values)["Deployment"][0]["spec"]["template"]["spec"]["priorityClassName"] == "serving"
