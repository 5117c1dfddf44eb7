"""
What AWS decides and the SDK does not say, for the types that ``infra/`` uses: ids, ARNs, what a change replaces.

Stands in for: the provider's schema (``ForceNew``) and the identifiers that AWS hands out.
Cannot show: types that are not listed get a plausible id and never replace. The tables follow AWS's documentation; no
test holds them against the provider.
"""

from __future__ import annotations

from typing import Any

ACCOUNT = "123456789012"  # the account number of AWS's own examples

# Which input carries the physical name that the provider makes up when the program gives none; "name" elsewhere.
NAME_PROPERTY = {
    "aws:s3/bucket:Bucket": "bucket",
    "aws:eks/nodeGroup:NodeGroup": "nodeGroupName",
}

# Shape of the id. {hash}: made up; other fields: inputs of the resource. Unlisted types: "<type>-{hash}".
IDS = {
    "aws:ec2/eip:Eip": "eipalloc-{hash}",
    "aws:ec2/instance:Instance": "i-{hash}",
    "aws:ec2/internetGateway:InternetGateway": "igw-{hash}",
    "aws:ec2/launchTemplate:LaunchTemplate": "lt-{hash}",
    "aws:ec2/natGateway:NatGateway": "nat-{hash}",
    "aws:ec2/routeTable:RouteTable": "rtb-{hash}",
    "aws:ec2/securityGroup:SecurityGroup": "sg-{hash}",
    "aws:ec2/subnet:Subnet": "subnet-{hash}",
    "aws:ec2/vpc:Vpc": "vpc-{hash}",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "vpce-{hash}",
    "aws:eks/cluster:Cluster": "{name}",
    "aws:iam/instanceProfile:InstanceProfile": "{name}",
    "aws:iam/role:Role": "{name}",
    "aws:s3/bucket:Bucket": "{bucket}",
}

# Shape of the ARN. Unlisted types that have one: "arn:aws:<service>:{region}:{account}:<type>/{id}".
ARNS = {
    "aws:iam/role:Role": "arn:aws:iam::{account}:role/{id}",
    "aws:iam/instanceProfile:InstanceProfile": "arn:aws:iam::{account}:instance-profile/{id}",
    "aws:kms/key:Key": "arn:aws:kms:{region}:{account}:key/{id}",
    "aws:s3/bucket:Bucket": "arn:aws:s3:::{id}",
}

# Inputs whose change makes a new resource. Everything else is changed in place.
REPLACING = {
    "aws:budgets/budget:Budget": {"budgetType", "name"},
    "aws:cloudwatch/logGroup:LogGroup": {"name"},
    "aws:ec2/instance:Instance": {"ami", "subnetId"},
    "aws:ec2/launchTemplate:LaunchTemplate": {"name"},
    "aws:ec2/natGateway:NatGateway": {"allocationId", "connectivityType", "subnetId"},
    "aws:ec2/routeTable:RouteTable": {"vpcId"},
    "aws:ec2/routeTableAssociation:RouteTableAssociation": {"subnetId"},
    "aws:ec2/securityGroup:SecurityGroup": {"description", "name", "vpcId"},
    "aws:ec2/subnet:Subnet": {"availabilityZoneId", "cidrBlock", "vpcId"},
    "aws:ec2/vpc:Vpc": {"cidrBlock"},
    "aws:ec2/vpcEndpoint:VpcEndpoint": {"serviceName", "vpcEndpointType", "vpcId"},
    "aws:eks/accessEntry:AccessEntry": {"clusterName", "principalArn", "type"},
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": {
        "accessScope",
        "clusterName",
        "policyArn",
        "principalArn",
    },
    "aws:eks/addon:Addon": {"addonName", "clusterName"},
    "aws:eks/cluster:Cluster": {
        "bootstrapSelfManagedAddons",
        "encryptionConfig",
        "name",
        "roleArn",
    },
    "aws:eks/nodeGroup:NodeGroup": {
        "amiType",
        "capacityType",
        "clusterName",
        "instanceTypes",
        "nodeGroupName",
        "nodeRoleArn",
        "subnetIds",
    },
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": {
        "clusterName",
        "namespace",
        "serviceAccount",
    },
    "aws:iam/instanceProfile:InstanceProfile": {"name"},
    "aws:iam/role:Role": {"name"},
    "aws:iam/rolePolicy:RolePolicy": {"name", "role"},
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": {"policyArn", "role"},
    "aws:kms/alias:Alias": {"name"},
    "aws:s3/bucket:Bucket": {"bucket"},
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": {"bucket"},
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": {"bucket"},
    "aws:s3/bucketPolicy:BucketPolicy": {"bucket"},
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": {"bucket"},
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": {"bucket"},
    "aws:s3/bucketVersioning:BucketVersioning": {"bucket"},
}

# Zones that refuse an EKS control plane (EKS user guide).
NO_CONTROL_PLANE = {"use1-az3", "usw1-az2", "cac1-az3"}

# What a look-up answers beside its own arguments.
LOOKUPS: dict[str, dict[str, Any]] = {
    "aws:ssm/getParameter:getParameter": {
        "value": "ami-0123456789abcdef0",
        "type": "String",
        "version": 1,
    },
    "aws:eks/getAddonVersion:getAddonVersion": {"version": "v1.0.0-eksbuild.1"},
}
