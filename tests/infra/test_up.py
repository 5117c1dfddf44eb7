"""The literal commands on the real engine: what ``pulumi up`` makes, changes and removes."""

from __future__ import annotations

import hashlib
import ipaddress

import pytest

from sizing.facts.catalogue import load_facts
from sizing.plan.files import render
from sizing.planning.planning import plan
from sizing.request.request import read_request
from tests.infra.stack import Stack

pytestmark = pytest.mark.pulumi

GPU_GROUP = "aws:eks/nodeGroup:NodeGroup"


def test_up_places_the_committed_plan(deployed: Stack) -> None:
    placement = deployed.placement()
    group = deployed.exists(GPU_GROUP, "gpu").inputs
    assert group["instanceTypes"] == [placement["host_type"]]
    assert set(group["scalingConfig"].values()) == {placement["hosts"]}
    zones = {one.id: one.inputs["availabilityZoneId"] for one in deployed.aws.cloud.resources() if "subnet-" in one.id}
    assert sorted(zones[subnet] for subnet in group["subnetIds"]) == sorted(placement["zone_ids"])
    assert deployed.outputs()["planDigest"] == f"sha256:{hashlib.sha256(deployed.plan_file().read_bytes()).hexdigest()}"


def test_a_second_up_changes_nothing(deployed: Stack) -> None:
    before = deployed.aws.cloud.resources()
    deployed.up("--expect-no-changes")
    assert deployed.aws.cloud.resources() == before


def test_more_machines_change_the_gpu_group_alone_and_in_place(deployed: Stack) -> None:
    deployed.change_placement(hosts=7)
    assert deployed.planned() == {"NodeGroup gpu": "update"}
    deployed.up()
    assert deployed.exists(GPU_GROUP, "gpu").inputs["scalingConfig"]["desiredSize"] == 7


def test_another_instance_type_replaces_the_gpu_group_alone(deployed: Stack) -> None:
    before = deployed.exists(GPU_GROUP, "gpu")
    deployed.change_placement(host_type="g6e.48xlarge")
    assert deployed.planned() == {"NodeGroup gpu": "replace"}
    deployed.up()
    after = deployed.exists(GPU_GROUP, "gpu")
    assert after.inputs["instanceTypes"] == ["g6e.48xlarge"]
    assert after.id != before.id


def test_machines_that_may_not_be_had_twice_go_before_others_come(deployed: Stack) -> None:
    deployed.change_placement(host_type="g6e.48xlarge")
    said = deployed.up()
    order = [said.index(f"aws:eks:NodeGroup gpu {done}") for done in ("deleted original", "creating replacement")]
    assert order == sorted(order)


def test_a_plan_for_other_zones_leaves_the_control_plane_and_the_way_out_alone(deployed: Stack) -> None:
    deployed.change_placement(host_type="p5.4xlarge", zone_ids=["use1-az3", "use1-az6"])
    deployed.up()
    resources = deployed.aws.cloud.resources()
    zones = {one.id: one.inputs["availabilityZoneId"] for one in resources if one.type == "aws:ec2/subnet:Subnet"}
    group = deployed.exists(GPU_GROUP, "gpu").inputs
    assert {zones[subnet] for subnet in group["subnetIds"]} == {"use1-az3", "use1-az6"}
    cluster = deployed.exists("aws:eks/cluster:Cluster", "cluster").inputs
    assert {zones[subnet] for subnet in cluster["vpcConfig"]["subnetIds"]} == {"use1-az2", "use1-az6"}
    assert set(zones.values()) == {"use1-az2", "use1-az3", "use1-az6"}


def test_other_zones_for_the_control_plane_are_refused_as_eks_does(deployed: Stack) -> None:
    deployed.pulumi("config", "set", "--stack", deployed.name, "--path", "zoneIds[1]", "use1-az4")
    assert "zones ['use1-az2', 'use1-az6'] cannot become ['use1-az2', 'use1-az4']" in deployed.up(exit_code=None)


def test_an_unreachable_api_and_an_unheard_budget_are_said_with_their_commands(deployed: Stack) -> None:
    warned = "warning: Only the network itself reaches the Kubernetes API"
    said = deployed.pulumi("preview", "--stack", deployed.name)
    assert warned in said
    assert "pulumi config set --path 'apiCidrs[0]' <your address>/32" in said
    assert "pulumi config set --secret budgetEmail <address>" in said
    deployed.pulumi("config", "set", "--stack", deployed.name, "--path", "apiCidrs[0]", "192.0.2.7/32")
    assert warned not in deployed.pulumi("preview", "--stack", deployed.name)


def test_the_budget_counts_what_carries_the_tag_that_machines_and_disks_have(deployed: Stack) -> None:
    [spent] = deployed.exists("aws:budgets/budget:Budget", "budget").inputs["costFilters"]
    assert spent == {"name": "TagKeyValue", "values": [f"user:Deployment${deployed.name}"]}
    template = deployed.exists("aws:ec2/launchTemplate:LaunchTemplate", "gpu").inputs
    tags = {one["resourceType"]: one["tags"]["Deployment"] for one in template["tagSpecifications"]}
    assert tags == {"instance": deployed.name, "volume": deployed.name}


def test_administrators_of_one_name_in_two_accounts_are_both_admitted(deployed: Stack) -> None:
    both = ["arn:aws:iam::123456789012:role/admin", "arn:aws:iam::210987654321:role/admin"]
    for position, arn in enumerate(both):
        deployed.pulumi("config", "set", "--stack", deployed.name, "--path", f"administrators[{position}]", arn)
    deployed.up()
    resources = deployed.aws.cloud.resources()
    entries = [one for one in resources if one.type == "aws:eks/accessEntry:AccessEntry"]
    assert sorted(one.inputs["principalArn"] for one in entries) == both


def test_a_larger_disk_changes_the_template_and_rolls_the_gpu_group(deployed: Stack) -> None:
    deployed.change_placement(disk_gib=777)
    assert deployed.planned() == {"LaunchTemplate gpu": "update", "NodeGroup gpu": "update"}
    deployed.up()
    assert deployed.exists(GPU_GROUP, "gpu").inputs["launchTemplate"]["version"] == "2"


def test_a_new_zone_of_the_plan_adds_subnets_and_moves_none(deployed: Stack) -> None:
    deployed.change_placement(zone_ids=[*deployed.placement()["zone_ids"], "use1-az8"])
    changes = deployed.planned()
    assert {name for name, operation in changes.items() if operation == "create"} == {
        "Subnet network-private-use1-az8",
        "Subnet network-public-use1-az8",
        "RouteTableAssociation network-private-use1-az8",
        "RouteTableAssociation network-public-use1-az8",
    }
    assert {name for name in changes if changes[name] != "create"} == {"NodeGroup gpu"}


def test_destroy_leaves_nothing(deployed: Stack) -> None:
    assert deployed.aws.cloud.resources()
    deployed.pulumi("destroy", "--stack", deployed.name, "--yes")
    assert deployed.aws.cloud.resources() == []
    assert deployed.json("stack", "export", "--stack", deployed.name)["deployment"].get("resources") is None


def test_a_plan_that_its_request_no_longer_gives_is_placed_with_a_warning(deployed: Stack) -> None:
    deployment = deployed.plan_file().parent
    fresh = render(plan(deployed.name, read_request(deployment / "request.toml"), load_facts()))
    for file, text in fresh.items():
        (deployment / file).write_text(text, encoding="utf-8")
    sentence = f"warning: {deployed.plan_file()} is stale: request or facts have changed since it was written"
    assert sentence not in deployed.pulumi("preview", "--stack", deployed.name)
    deployed.change_placement(hosts=7)
    assert sentence in deployed.pulumi("preview", "--stack", deployed.name)


def test_a_create_that_aws_refuses_is_reported_and_the_next_up_completes_it(empty: Stack) -> None:
    reason = "AsgInstanceLaunchFailures: InsufficientInstanceCapacity: no capacity for this type in these zones"
    empty.aws.cloud.refuse(GPU_GROUP, "gpu", reason)
    assert reason in empty.up(exit_code=None)
    made = {one.id for one in empty.aws.cloud.resources()}
    empty.aws.cloud.allow_everything()
    empty.up()
    assert made < {one.id for one in empty.aws.cloud.resources()}
    empty.exists(GPU_GROUP, "gpu")


def test_drift_is_seen_by_refresh_and_repaired_by_up(deployed: Stack) -> None:
    group = deployed.exists(GPU_GROUP, "gpu")
    group.inputs["scalingConfig"]["desiredSize"] = 0
    deployed.aws.cloud.put(group)
    said = deployed.pulumi("preview", "--stack", deployed.name, "--refresh", "--expect-no-changes", exit_code=None)
    assert "error: no changes were expected for preview but changes were proposed" in said
    deployed.up("--refresh")
    assert deployed.exists(GPU_GROUP, "gpu").inputs["scalingConfig"]["desiredSize"] > 0


def test_what_was_deleted_by_hand_is_made_again(deployed: Stack) -> None:
    deployed.aws.cloud.vanish("aws:budgets/budget:Budget", "budget")
    count = len(deployed.aws.cloud.resources())
    deployed.up("--refresh")
    assert len(deployed.aws.cloud.resources()) == count + 1


def test_a_secret_address_is_in_no_file_and_in_no_output(deployed: Stack) -> None:
    address = "someone@example.org"
    deployed.pulumi("config", "set", "--stack", deployed.name, "--secret", "budgetEmail", address)
    said = deployed.up()
    said += deployed.up("--refresh")  # what is read back is as secret as what was given
    said += deployed.pulumi("stack", "export", "--stack", deployed.name)
    assert address not in said
    backend = deployed.aws.project.parent / "backend"
    files = [path for folder in (deployed.aws.project, backend) for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if address.encode() in path.read_bytes()]
    told = deployed.exists("aws:budgets/budget:Budget", "budget").inputs["notifications"]
    assert [one["subscriberEmailAddresses"] for one in told] == [[address], [address]]
    assert {(one["comparisonOperator"], one["threshold"], one["thresholdType"]) for one in told} == {
        ("GREATER_THAN", 100, "PERCENTAGE")
    }


def test_every_problem_of_the_settings_is_one_sentence_and_nothing_is_made(empty: Stack) -> None:
    empty.pulumi("config", "set", "--stack", empty.name, "vpcCidr", "10.0.0.0/24")
    empty.pulumi("config", "set", "--stack", empty.name, "--path", "apiCidrs[0]", "0.0.0.0/0")
    said = empty.up(exit_code=None)
    assert "vpcCidr 10.0.0.0/24 is a /24" in said
    assert "apiCidrs opens the Kubernetes API to the whole internet" in said
    assert "Traceback" not in said
    assert empty.aws.cloud.resources() == []


def test_the_32b_stack_is_placed_beside_the_8b_one_without_overlap(deployed: Stack) -> None:
    other = Stack(deployed.aws, "prod-qwen3-32b")
    other.pulumi("stack", "init", other.name)
    other.up()
    networks = [one.inputs["cidrBlock"] for one in deployed.aws.cloud.resources() if one.type == "aws:ec2/vpc:Vpc"]
    assert len(networks) == 2
    assert not ipaddress.ip_network(networks[0]).overlaps(ipaddress.ip_network(networks[1]))
    groups = {
        tuple(one.inputs["instanceTypes"])
        for one in deployed.aws.cloud.resources()
        if one.name == "gpu" and one.type == GPU_GROUP
    }
    assert groups == {(deployed.placement()["host_type"],), (other.placement()["host_type"],)}


def test_a_stack_that_pulumi_does_not_place_is_refused_with_the_tool_that_does(empty: Stack) -> None:
    home = Stack(empty.aws, "home-server")
    home.pulumi("stack", "init", home.name)
    said = home.up(exit_code=None)
    assert "home-server is planned for the place 'home', which ansible-playbook serves, not pulumi." in said
    assert "Traceback" not in said
