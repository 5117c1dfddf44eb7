"""
AWS's own provider validates what ``up`` made. Runs where ``terraform`` is, and QWENKIT_TERRAFORM_PLUGINS names a folder
that holds ``registry.terraform.io/hashicorp/aws``.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from standins.aws.cloud import Cloud, Resource
from standins.aws.terraform import Provider

PLUGINS = os.environ.get("QWENKIT_TERRAFORM_PLUGINS", "")

pytestmark = [
    pytest.mark.pulumi,
    pytest.mark.skipif(not shutil.which("terraform"), reason="AWS's own provider is not asked: no terraform here"),
    pytest.mark.skipif(not PLUGINS, reason="AWS's own provider is not asked: QWENKIT_TERRAFORM_PLUGINS is not set"),
]

GPU_GROUP = "aws:eks/nodeGroup:NodeGroup gpu"
CLUSTER = "aws:eks/cluster:Cluster cluster"
MISTAKES: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "taint effect in the spelling of Kubernetes": (GPU_GROUP, lambda of: of["taints"][0].update(effect="NoSchedule")),
    "AMI type that does not exist": (GPU_GROUP, lambda of: of.update(amiType="AL2023_X86_NVIDIA")),
    "authentication mode that does not exist": (
        CLUSTER,
        lambda of: of["accessConfig"].update(authenticationMode="APIS"),
    ),
    "cluster name with a dot": (CLUSTER, lambda of: of.update(name="qwen.prod")),
    "log retention of 31 days": ("aws:cloudwatch/logGroup:LogGroup cluster", lambda of: of.update(retentionInDays=31)),
    "disk type gp4": (
        "aws:ec2/launchTemplate:LaunchTemplate gpu",
        lambda of: of["blockDeviceMappings"][0]["ebs"].update(volumeType="gp4"),
    ),
    "subnet range with host bits": (
        "aws:ec2/subnet:Subnet network-private-use1-az1",
        lambda of: of.update(cidrBlock="10.40.1.0/20"),
    ),
    "trust that is not JSON": ("aws:iam/role:Role cluster-node", lambda of: of.update(assumeRolePolicy="{oops")),
    "budget by the week": ("aws:budgets/budget:Budget budget", lambda of: of.update(timeUnit="WEEKLY")),
}


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Provider:
    return Provider(Path(PLUGINS), tmp_path_factory.mktemp("terraform"))


@pytest.fixture(scope="module")
def made(first_up: Path) -> list[Resource]:
    return Cloud(first_up / "cloud.json").resources()


def test_aws_own_provider_has_no_objection_to_the_stack(provider: Provider, made: list[Resource]) -> None:
    assert len(made) > 50
    assert provider.objections(made) == []


def test_it_objects_to_every_one_of_these_mistakes(provider: Provider, made: list[Resource]) -> None:
    wrong = []
    for name, (place, change) in MISTAKES.items():
        [victim] = [one for one in made if f"{one.type} {one.name}" == place]
        inputs = copy.deepcopy(victim.inputs)
        change(inputs)
        wrong.append(dataclasses.replace(victim, name=name, inputs=inputs))
    found = provider.objections(wrong)
    assert len(wrong) == len({one.split(":")[0] for one in found}), found
