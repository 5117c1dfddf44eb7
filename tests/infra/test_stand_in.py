"""The stand-in can say no: without that, nothing it lets pass means anything."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from lab.standins.aws.cloud import Cloud, InUse, Refused, Resource
from tests.children import child
from tests.infra.stack import Stack
from tests.waiting import wait_until

WRONG_PROGRAMS = {
    "a nested typo": ("scaling_config={'min_size': 1, 'max_size': 1, 'desired': 1}", "scalingConfig.desired: unknown"),
    "a nested gap": ("scaling_config={'min_size': 1, 'max_size': 1}", "scalingConfig.desiredSize: missing required"),
    "a number for a text": ("scaling_config=GOOD, instance_types=[3]", "instanceTypes[0]: expected str, got 3"),
    "a text for a number": (
        "scaling_config=GOOD | {'min_size': 'one'}",
        "scalingConfig.minSize: expected int, got 'one'",
    ),
}


@pytest.mark.pulumi
@pytest.mark.parametrize("mistake", WRONG_PROGRAMS)
def test_a_program_with_a_mistake_is_refused_before_anything_is_made(empty: Stack, mistake: str) -> None:
    arguments, sentence = WRONG_PROGRAMS[mistake]
    (empty.aws.project / "infra" / "__main__.py").write_text(
        "import pulumi_aws as aws\n"
        "GOOD = {'min_size': 1, 'max_size': 1, 'desired_size': 1}\n"
        f"aws.eks.NodeGroup('gpu', cluster_name='c', node_role_arn='r', subnet_ids=['s'], {arguments})\n",
        encoding="utf-8",
    )
    assert sentence in empty.up(exit_code=None)
    assert empty.aws.cloud.resources() == []


@pytest.mark.pulumi
def test_nothing_outlives_a_launcher_that_is_killed(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo started; exec sleep 600"]
    with child([sys.executable, "-m", "lab.standins.aws.run", str(tmp_path), *command]) as launcher:
        launcher.wait_to_say("started", 120)
        children = _children(launcher.process.pid)
        providers = [
            pid for pid in children if b"lab.standins.aws.provider" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
    try:
        assert len(providers) == 1
        wait_until(lambda: not Path(f"/proc/{providers[0]}").exists(), 10, "the provider has ended")
    finally:
        for pid in set(children) - set(providers):  # the command itself is its caller's to end
            os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


VPC = Resource("vpc-1", "aws:ec2/vpc:Vpc", "network", {"tags": {"Name": "network"}}, {"arn": "arn:vpc"})


def test_a_resource_that_another_uses_cannot_be_deleted(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "cloud.json")
    cloud.put(VPC)
    cloud.put(Resource("subnet-1", "aws:ec2/subnet:Subnet", "private", {"vpcId": "vpc-1"}, {}))
    with pytest.raises(InUse, match="network is used by aws:ec2/subnet:Subnet private"):
        cloud.remove(VPC.type, VPC.id)
    cloud.remove("aws:ec2/subnet:Subnet", "subnet-1")
    cloud.remove(VPC.type, VPC.id)
    assert cloud.resources() == []


def test_a_tag_that_repeats_an_id_holds_nothing(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "cloud.json")
    cloud.put(VPC)
    cloud.put(Resource("eip-1", "aws:ec2/eip:Eip", "address", {"tags": {"for": "vpc-1"}}, {}))
    cloud.remove(VPC.type, VPC.id)
    assert [one.id for one in cloud.resources()] == ["eip-1"]


def test_a_create_is_refused_until_everything_is_allowed_again(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "cloud.json")
    cloud.refuse(VPC.type, VPC.name, "VpcLimitExceeded")
    with pytest.raises(Refused, match="VpcLimitExceeded"):
        cloud.admit(VPC.type, VPC.name)
    cloud.allow_everything()
    cloud.admit(VPC.type, VPC.name)
