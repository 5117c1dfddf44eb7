"""What the program asks AWS for, whoever runs it: which machines, who may do what, and what is open to whom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lab.standins.aws.cloud import Resource
from tests.infra.declared import CASES, Declared

GPU_GROUP = "aws:eks/nodeGroup:NodeGroup"
INSTANCE = "aws:ec2/instance:Instance"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
SERVICES = {
    "cluster-control-plane": ("eks.amazonaws.com", ["sts:AssumeRole"]),
    "cluster-node": ("ec2.amazonaws.com", ["sts:AssumeRole"]),
    "model-server": ("pods.eks.amazonaws.com", ["sts:AssumeRole", "sts:TagSession"]),
    "gpu-host": ("ec2.amazonaws.com", ["sts:AssumeRole"]),
}
MANAGED = {
    "cluster-control-plane": {"AmazonEKSClusterPolicy"},
    "cluster-node": {
        "AmazonEKSWorkerNodePolicy",
        "AmazonEKS_CNI_Policy",
        "AmazonEC2ContainerRegistryPullOnly",
        "AmazonSSMManagedInstanceCore",
    },
    "model-server": set(),
    "gpu-host": {"AmazonSSMManagedInstanceCore"},
}


@pytest.fixture(params=CASES)
def made(request: pytest.FixtureRequest, declared: Declared) -> list[Resource]:
    return declared[request.param]


def of(made: list[Resource], kind: str) -> list[dict[str, Any]]:
    """The inputs of every resource of that type."""
    return [one.inputs for one in made if one.type == kind]


def disks(made: list[Resource]) -> Iterator[dict[str, Any]]:
    for template in of(made, TEMPLATE):
        yield from (mapping["ebs"] for mapping in template["blockDeviceMappings"])
    yield from (machine["rootBlockDevice"] for machine in of(made, INSTANCE))


@pytest.mark.parametrize(("case", "cidrs"), [(name, case.config.get("apiCidrs")) for name, case in CASES.items()])
def test_the_kubernetes_api_is_open_to_the_named_addresses_alone(
    declared: Declared, case: str, cidrs: list[str] | None
) -> None:
    for cluster in of(declared[case], "aws:eks/cluster:Cluster"):
        network = cluster["vpcConfig"]
        assert network["endpointPrivateAccess"] is True
        assert network["endpointPublicAccess"] is (cidrs is not None)
        assert network.get("publicAccessCidrs") == cidrs


def test_no_pod_gets_the_credentials_of_its_machine(made: list[Resource]) -> None:
    machines = of(made, TEMPLATE) + of(made, INSTANCE)
    assert machines
    for machine in machines:
        assert machine["metadataOptions"] == {
            "httpEndpoint": "enabled",
            "httpTokens": "required",
            "httpPutResponseHopLimit": 1,
        }


def test_every_disk_is_encrypted_and_goes_with_its_machine(made: list[Resource]) -> None:
    assert list(disks(made))
    assert [str(disk["encrypted"]).lower() for disk in disks(made)] == ["true"] * len(list(disks(made)))
    assert {disk.get("deleteOnTermination", "true") for disk in disks(made)} == {"true"}


def test_every_group_of_machines_is_made_from_its_template(made: list[Resource]) -> None:
    templates = {one.name: {"id": one.id, "version": "1"} for one in made if one.type == TEMPLATE}
    assert {one.name: one.inputs["launchTemplate"] for one in made if one.type == GPU_GROUP} == templates


def test_every_machine_is_bought_on_demand_as_the_plan_says(made: list[Resource]) -> None:
    assert {group["capacityType"] for group in of(made, GPU_GROUP)} <= {"ON_DEMAND"}
    assert not [one for one in of(made, INSTANCE) + of(made, TEMPLATE) if one.get("instanceMarketOptions")]


def test_no_machine_is_in_a_subnet_that_the_internet_reaches(made: list[Resource]) -> None:
    [internet] = [one.id for one in made if one.type == "aws:ec2/internetGateway:InternetGateway"]
    exits = {
        one.id
        for one in made
        if one.type == "aws:ec2/routeTable:RouteTable"
        and any(route.get("gatewayId") == internet for route in one.inputs["routes"])
    }
    routes = of(made, "aws:ec2/routeTableAssociation:RouteTableAssociation")
    reached = {route["subnetId"] for route in routes if route["routeTableId"] in exits}
    used = {subnet for group in of(made, GPU_GROUP) for subnet in group["subnetIds"]}
    used |= {machine["subnetId"] for machine in of(made, INSTANCE)}
    used |= {subnet for cluster in of(made, "aws:eks/cluster:Cluster") for subnet in cluster["vpcConfig"]["subnetIds"]}
    assert used
    assert reached
    assert used & reached == set()


def test_s3_is_reached_from_the_machines_without_the_nat_gateway(made: list[Resource]) -> None:
    [endpoint] = of(made, "aws:ec2/vpcEndpoint:VpcEndpoint")
    private = {one.id for one in made if one.name == "network-private" and one.type == "aws:ec2/routeTable:RouteTable"}
    assert set(endpoint["routeTableIds"]) == private
    assert endpoint["serviceName"] == "com.amazonaws.us-east-1.s3"


def test_nothing_comes_in_from_outside(made: list[Resource]) -> None:
    assert not [group.get("ingress") for group in of(made, "aws:ec2/securityGroup:SecurityGroup") if "ingress" in group]
    rules = {one.type for one in made if "securityGroupIngress" in one.type or "securityGroupRule" in one.type}
    assert rules == set()


def test_each_role_is_taken_on_by_its_one_service(made: list[Resource]) -> None:
    roles = {one.name: json.loads(one.inputs["assumeRolePolicy"]) for one in made if one.type == "aws:iam/role:Role"}
    assert roles
    for name, trust in roles.items():
        service, actions = SERVICES[name]
        assert trust["Statement"] == [{"Effect": "Allow", "Principal": {"Service": service}, "Action": actions}]


def test_each_role_has_its_named_policies_and_no_other(made: list[Resource]) -> None:
    names = {one.id: one.name for one in made if one.type == "aws:iam/role:Role"}
    found: dict[str, set[str]] = {name: set() for name in names.values()}
    for attached in of(made, "aws:iam/rolePolicyAttachment:RolePolicyAttachment"):
        found[names[attached["role"]]].add(attached["policyArn"].removeprefix("arn:aws:iam::aws:policy/"))
    assert found == {name: MANAGED[name] for name in found}
    assert not [one for one in of(made, "aws:iam/role:Role") if one.keys() & {"inlinePolicies", "managedPolicyArns"}]


def test_the_model_server_may_list_and_get_of_the_weights_bucket_and_nothing_else(made: list[Resource]) -> None:
    buckets = [one.outputs["arn"] for one in made if one.type == "aws:s3/bucket:Bucket"]
    own = of(made, "aws:iam/rolePolicy:RolePolicy")
    assert len(own) == len(buckets)
    for bucket, policy in zip(buckets, own, strict=True):
        assert policy["role"].endswith("model-server")
        assert json.loads(policy["policy"])["Statement"] == [
            {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket},
            {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{bucket}/*"},
        ]


def test_weights_travel_over_tls_only(made: list[Resource]) -> None:
    buckets = [one.outputs["arn"] for one in made if one.type == "aws:s3/bucket:Bucket"]
    policies = of(made, "aws:s3/bucketPolicy:BucketPolicy")
    assert len(policies) == len(buckets)
    for bucket, policy in zip(buckets, policies, strict=True):
        [only] = json.loads(policy["policy"])["Statement"]
        assert (only["Effect"], only["Principal"], only["Action"]) == ("Deny", "*", "s3:*")
        assert only["Resource"] == [bucket, f"{bucket}/*"]
        assert only["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if not case.placement])
def test_the_weights_are_private_encrypted_and_versioned(declared: Declared, case: str) -> None:
    bucket = {one.type.split(":")[-1]: one.inputs for one in declared[case] if one.type.startswith("aws:s3/")}
    name = bucket["Bucket"]["bucket"]
    assert {of.get("bucket") for of in bucket.values()} == {name}
    block = bucket["BucketPublicAccessBlock"]
    assert {flag for flag, on in block.items() if on is True} == {
        "blockPublicAcls",
        "blockPublicPolicy",
        "ignorePublicAcls",
        "restrictPublicBuckets",
    }
    assert {of["Effect"] for of in json.loads(bucket["BucketPolicy"]["policy"])["Statement"]} == {"Deny"}
    assert bucket["BucketOwnershipControls"]["rule"] == {"objectOwnership": "BucketOwnerEnforced"}
    [rule] = bucket["BucketServerSideEncryptionConfiguration"]["rules"]
    assert rule["applyServerSideEncryptionByDefault"]["sseAlgorithm"] == "AES256"
    assert bucket["BucketVersioning"]["versioningConfiguration"] == {"status": "Enabled"}
    assert bucket["Bucket"].get("forceDestroy", False) is False


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if not case.placement])
def test_time_removes_of_the_weights_only_what_was_replaced_or_never_finished(declared: Declared, case: str) -> None:
    [lifecycle] = of(declared[case], "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")
    about = {"id", "status", "filter"}
    assert {action: days for rule in lifecycle["rules"] for action, days in rule.items() if action not in about} == {
        "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7},
        "noncurrentVersionExpiration": {"noncurrentDays": 30},
    }


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if not case.placement])
def test_the_clusters_secrets_are_encrypted_with_a_key_that_rotates_and_its_log_is_kept(
    declared: Declared, case: str
) -> None:
    made = declared[case]
    [key] = [one for one in made if one.type == "aws:kms/key:Key"]
    [cluster] = of(made, "aws:eks/cluster:Cluster")
    assert key.inputs["enableKeyRotation"] is True
    assert cluster["encryptionConfig"] == {"resources": ["secrets"], "provider": {"keyArn": key.outputs["arn"]}}
    [log] = of(made, "aws:cloudwatch/logGroup:LogGroup")
    assert log["name"] == f"/aws/eks/{cluster['name']}/cluster"
    assert {"api", "audit", "authenticator"} <= set(cluster["enabledClusterLogTypes"])
    assert cluster["accessConfig"]["authenticationMode"] == "API"
