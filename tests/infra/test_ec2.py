"""The place ``aws-ec2``: the same plan on plain machines."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.infra.stack import Stack

pytestmark = pytest.mark.pulumi


def test_a_plan_for_plain_machines_gets_them_in_private_subnets_and_no_cluster(empty: Stack, tmp_path: Path) -> None:
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
    for number, machine in enumerate(sorted(machines, key=lambda one: one.name), start=1):
        found = effective_ssh(empty.outputs()["sshConfig"], f"{empty.name}-{number}", tmp_path)
        assert (found["hostname"], found["user"]) == (machine.id, "ubuntu")
        assert "--region us-east-1 --target %h --document-name AWS-StartSSHSession" in found["proxycommand"]
    empty.up("--expect-no-changes")
    empty.pulumi("destroy", "--stack", empty.name, "--yes")
    assert empty.aws.cloud.resources() == []


def effective_ssh(config: str, host: str, folder: Path) -> dict[str, str]:
    """What the real ssh reads out of *config* for *host*."""
    file = folder / "ssh_config"
    file.write_text(config, encoding="utf-8")
    said = subprocess.run(["ssh", "-G", "-F", file, host], capture_output=True, text=True, check=True).stdout
    return dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
