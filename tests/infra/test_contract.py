"""What the infrastructure promises is what the chart asks for: the two meet only in the stack's outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.stack import Stack

pytestmark = pytest.mark.pulumi

ROOT = Path(__file__).parents[2]


@pytest.fixture
def values(deployed: Stack) -> dict[str, Any]:
    """The chart's values for this deployment: the chart's own, and the rendered ones over them."""
    defaults = yaml.safe_load((ROOT / "helm" / "qwen" / "values.yaml").read_text(encoding="utf-8"))
    rendered = yaml.safe_load(deployed.plan_file().with_name("values.yaml").read_text(encoding="utf-8"))
    return defaults | rendered


def test_pods_tolerate_every_taint_of_the_gpu_machines(deployed: Stack, values: dict[str, Any]) -> None:
    group = deployed.exists("aws:eks/nodeGroup:NodeGroup", "gpu").inputs
    taints = {taint["key"]: taint["value"] for taint in group["taints"]}
    assert taints == deployed.outputs()["gpuTaints"]
    assert {taint["effect"] for taint in group["taints"]} == {"NO_SCHEDULE"}
    for key, value in taints.items():
        assert any(
            one["key"] == key
            and one.get("effect", "NoSchedule") == "NoSchedule"
            and (one.get("operator") == "Exists" or one.get("value") == value)
            for one in values["tolerations"]
        ), f"no toleration for {key}={value}"


def test_pods_select_labels_that_the_gpu_machines_carry(deployed: Stack, values: dict[str, Any]) -> None:
    labels = deployed.exists("aws:eks/nodeGroup:NodeGroup", "gpu").inputs["labels"]
    assert labels == deployed.outputs()["gpuLabels"]
    assert values["nodeSelector"].items() <= labels.items()
    assert values["nodeSelector"], "nothing keeps the pods on the GPU machines"


def test_the_service_account_of_the_pods_is_the_one_that_may_read_the_weights(
    deployed: Stack, values: dict[str, Any]
) -> None:
    allowed = deployed.exists("aws:eks/podIdentityAssociation:PodIdentityAssociation", "model-server").inputs
    assert allowed["serviceAccount"] == values["serviceAccount"]["name"] == deployed.outputs()["serviceAccount"]
    assert allowed["namespace"] == deployed.outputs()["namespace"]


def test_the_machines_have_the_gpus_that_the_replicas_ask_for(deployed: Stack, values: dict[str, Any]) -> None:
    placement = deployed.placement()
    group = deployed.exists("aws:eks/nodeGroup:NodeGroup", "gpu").inputs
    offered = group["scalingConfig"]["desiredSize"] * placement["gpus_per_host"]
    assert values["replicas"] * values["gpu"]["count"] <= offered
