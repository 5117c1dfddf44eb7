"""What the infrastructure promises is what the chart asks for: the two meet only in the stack's outputs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.tools.get import tool
from tests.infra.stack import Stack

pytestmark = pytest.mark.pulumi

ROOT = Path(__file__).parents[2]


@pytest.fixture
def values(deployed: Stack) -> dict[str, Any]:
    """The chart's values for this deployment: the chart's own, and the rendered ones over them."""
    defaults: dict[str, Any] = yaml.safe_load((ROOT / "helm" / "qwen" / "values.yaml").read_text(encoding="utf-8"))
    rendered = yaml.safe_load(deployed.plan_file().with_name("values.yaml").read_text(encoding="utf-8"))
    return {**defaults, **rendered}


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


def test_the_device_plugin_runs_where_the_gpus_are_and_is_the_one_of_the_k3s_role(deployed: Stack) -> None:
    plugin = yaml.safe_load((ROOT / "infra" / "device-plugin.yaml").read_text(encoding="utf-8"))
    pod = plugin["spec"]["template"]["spec"]
    assert pod["nodeSelector"].items() <= deployed.outputs()["gpuLabels"].items()
    assert {toleration["key"] for toleration in pod["tolerations"]} >= set(deployed.outputs()["gpuTaints"])
    role = yaml.safe_load((ROOT / "ansible" / "roles" / "k3s" / "defaults" / "main.yml").read_text(encoding="utf-8"))
    assert pod["containers"][0]["image"] == role["k3s_device_plugin_image"]


@pytest.fixture
def policy(deployed: Stack) -> dict[str, Any]:
    """The chart's NetworkPolicy for this deployment."""
    values = deployed.plan_file().with_name("values.yaml")
    # Only a pod that reads the bucket wants the credentials.
    asked: list[str | Path] = ["-f", values, "--set", "model.source=s3,model.uri=s3://weights/qwen3-8b"]
    command = [tool("helm"), "template", "qwen", "helm/qwen", "-s", "templates/networkpolicy.yaml", *asked]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    [made] = [each for each in yaml.safe_load_all(done.stdout) if each["metadata"]["name"] == "qwen"]
    return dict(made)


def test_the_cluster_enforces_the_policy_that_the_chart_makes(deployed: Stack, policy: dict[str, Any]) -> None:
    assert policy["kind"] == "NetworkPolicy"
    addon = deployed.exists("aws:eks/addon:Addon", "vpc-cni").inputs
    assert json.loads(addon["configurationValues"]) == {"enableNetworkPolicy": "true"}


def test_the_policy_lets_pods_fetch_the_credentials_of_their_service_account(policy: dict[str, Any]) -> None:
    agent, ports = {"ipBlock": {"cidr": "169.254.170.23/32"}}, [{"port": 80, "protocol": "TCP"}]
    assert any(agent in rule.get("to", []) and rule["ports"] == ports for rule in policy["spec"]["egress"])
