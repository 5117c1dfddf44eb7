"""AWS's own provider validates what ``up`` made and what the program declares elsewhere, where there is one."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.standins.aws.cloud import Cloud, Resource
from lab.standins.aws.terraform import NotHere, Provider, plugins
from tests.infra.declared import Declared

pytestmark = pytest.mark.pulumi

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
    try:
        return Provider(plugins(), tmp_path_factory.mktemp("terraform"))
    except NotHere as why:
        pytest.skip(str(why))


@pytest.fixture(scope="module")
def made(first_up: Path, declared: Declared) -> dict[str, Resource]:
    every = {"up": Cloud(first_up / "cloud.json").resources(), **declared}
    return {f"{case}: {one.type} {one.name}": one for case, resources in every.items() for one in resources}


@pytest.fixture(scope="module")
def objections(provider: Provider, made: dict[str, Resource]) -> dict[str, list[str]]:
    """To what is there and to every mistake at once: most of a question is the provider's start."""
    wrong = {}
    for name, (place, change) in MISTAKES.items():
        inputs = copy.deepcopy(made[f"up: {place}"].inputs)
        change(inputs)
        wrong[name] = dataclasses.replace(made[f"up: {place}"], inputs=inputs)
    return provider.objections(made | wrong)


def test_aws_own_provider_has_no_objection_to_what_is_made(
    made: dict[str, Resource], objections: dict[str, list[str]]
) -> None:
    assert len(made) > 150
    assert {name: said for name, said in objections.items() if name in made} == {}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_it_objects_to_a_mistake(objections: dict[str, list[str]], mistake: str) -> None:
    assert objections.get(mistake)
