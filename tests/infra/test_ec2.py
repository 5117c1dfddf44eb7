"""The place ``aws-ec2``: the same plan on plain machines."""

from __future__ import annotations

import pytest

from tests.infra.stack import Stack

pytestmark = pytest.mark.pulumi


def test_a_plan_for_plain_machines_gets_them_in_private_subnets_and_no_cluster(empty: Stack) -> None:
    empty.change_placement(kind="aws-ec2", hosts=3)
    empty.up()
    machines = [one for one in empty.aws.cloud.resources() if one.type == "aws:ec2/instance:Instance"]
    private = {one.id for one in empty.aws.cloud.resources() if one.name.startswith("network-private-use1")}
    assert len(machines) == 3
    assert all(one.inputs["instanceType"] == empty.placement()["host_type"] for one in machines)
    assert all(one.inputs["metadataOptions"]["httpTokens"] == "required" for one in machines)
    assert all(one.inputs["rootBlockDevice"]["encrypted"] for one in machines)
    assert {one.inputs["subnetId"] for one in machines} <= private
    assert not [one for one in empty.aws.cloud.resources() if one.type.startswith("aws:eks/")]
    assert empty.outputs()["instanceIds"] == [one.id for one in sorted(machines, key=lambda one: one.name)]
    empty.up("--expect-no-changes")
    empty.pulumi("destroy", "--stack", empty.name, "--yes")
    assert empty.aws.cloud.resources() == []
