"""Every plan, whatever its place and engine, becomes values that the chart accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sizing.facts.catalogue import load_facts
from sizing.plan.files import render
from sizing.planning.planning import plan
from sizing.request.request import Request
from tests.helm.chart import COMMITTED, OTHERS, Values, engine_of, environment_of, laid_over, pod_of, rendered

LOAD = {"concurrency": 4, "input_tokens": 1024, "output_tokens": 256}
HOME = {"kind": "home", "host": "home-1x-rtx-4090"}
REQUESTS: dict[str, dict[str, Any]] = {
    "aws-eks": {"model": "qwen3-8b", "load": LOAD, "place": {"kind": "aws-eks"}},
    "aws-ec2": {"model": "qwen3-8b", "load": LOAD, "place": {"kind": "aws-ec2"}},
    "three-hosts": {"model": "qwen3-8b", "load": LOAD, "place": {"kind": "aws-ec2"}, "limits": {"min_replicas": 3}},
    "home": {"model": "qwen3-8b", "load": LOAD, "place": HOME},
    "home-sglang": {"model": "qwen3-8b", "load": LOAD, "place": HOME, "limits": {"engine": "sglang"}},
    "local": {"model": "qwen3-0.6b", "load": LOAD, "place": {"kind": "local"}, "limits": {"engine": "vllm-cpu"}},
}


def values_of(place: str) -> Values:
    text = render(plan(place, Request.model_validate(REQUESTS[place]), load_facts()))["values.yaml"]
    values: Values = yaml.safe_load(text)
    return values


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_the_chart_accepts_the_values_of_a_committed_deployment(helm: Path, path: Path) -> None:
    values = yaml.safe_load(path.read_text())
    assert engine_of(rendered(helm, values))["args"][: len(values["args"])] == values["args"]


@pytest.mark.parametrize("place", REQUESTS)
def test_the_chart_accepts_the_plan_of_a_place(helm: Path, place: str) -> None:
    planned = plan(place, Request.model_validate(REQUESTS[place]), load_facts())
    objects = rendered(helm, values_of(place))
    engine = engine_of(objects)
    assert tuple(engine["args"][: len(planned.engine.args)]) == planned.engine.args
    assert engine["image"] == planned.engine.image
    assert engine["ports"][0]["containerPort"] == planned.engine.port
    assert planned.engine.env.items() <= environment_of(objects).items()
    assert pod_of(objects)["terminationGracePeriodSeconds"] == 10 + planned.serve.drain_s + 15
    [deployment] = objects["Deployment"]
    deadline_s = planned.serve.image_pull_s + planned.serve.startup_budget_s + 10 + planned.serve.drain_s + 15
    fetch_s = planned.serve.weight_load_s if values_of(place)["model"]["source"] == "hub" else 0
    assert deployment["spec"]["progressDeadlineSeconds"] == deadline_s + fetch_s
    assert engine["startupProbe"]["failureThreshold"] * 5 >= planned.serve.startup_budget_s


def test_pods_on_eks_go_to_the_gpu_pool_and_tolerate_its_taint(helm: Path) -> None:
    pod = pod_of(rendered(helm, values_of("aws-eks")))
    assert pod["nodeSelector"] == {"qwenkit.dev/pool": "gpu"}
    assert pod["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Equal", "value": "true", "effect": "NoSchedule"}
    ]


def test_each_of_several_k3s_hosts_gets_its_own_replicas_and_no_more() -> None:
    place = plan("three-hosts", Request.model_validate(REQUESTS["three-hosts"]), load_facts()).placement
    assert (place.hosts, place.replicas, place.gpus_per_host) == (3, 3, 1)
    assert values_of("three-hosts")["replicas"] == 1
    assert values_of("three-hosts")["cache"]["type"] == "pvc"


@pytest.mark.parametrize("place", REQUESTS)
def test_what_is_scaled_by_is_the_plans_and_nothing_scales_unasked(helm: Path, place: str) -> None:
    values, planned = values_of(place), plan(place, Request.model_validate(REQUESTS[place]), load_facts())
    held = planned.serve.requests_per_replica
    assert values["autoscaling"] == {
        "min": values["replicas"],
        "max": values["replicas"],
        "requestsPerReplica": held,
    }
    asked = {"enabled": True, "prometheus": "http://prometheus.monitoring:9090"}
    switched_on = laid_over(values, {"autoscaling": asked})
    assert "ScaledObject" not in rendered(helm, values, apis=OTHERS)
    [scaled] = rendered(helm, switched_on, apis=OTHERS)["ScaledObject"]
    assert scaled["spec"]["minReplicaCount"] == scaled["spec"]["maxReplicaCount"] == values["replicas"]


@pytest.mark.parametrize("place", ["home", "aws-ec2"])
def test_pods_on_k3s_use_its_nvidia_runtime_and_keep_their_cache(helm: Path, place: str) -> None:
    objects = rendered(helm, values_of(place))
    assert pod_of(objects)["runtimeClassName"] == "nvidia"
    assert [claim["metadata"]["name"] for claim in objects["PersistentVolumeClaim"]] == ["qwen-cache"]


def test_a_local_pod_reads_its_weights_from_a_claim() -> None:
    values = values_of("local")
    assert values["model"] == {"source": "pvc", "uri": "model"}
    assert values["args"][0].startswith("/models")
    assert values["gpu"] == {"count": 0}
