"""The EKS control plane: access by IAM alone, secrets under a key of its own, every control-plane log kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.service_role import ServiceRole, ServiceRoleArgs

LOG_DAYS = 90
ADMINISTRATOR = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"


@dataclass(frozen=True)
class ClusterArgs:
    """
    *api_cidrs* may reach the API from the internet; none closes that way. *name* is what ``kubectl`` users see.

    *subnet_ids* are the control plane's: EKS refuses any later change of the zones that they are in.
    """

    name: str
    kubernetes_version: str
    subnet_ids: Sequence[pulumi.Input[str]]
    api_cidrs: tuple[str, ...]
    administrators: tuple[str, ...]


class Cluster(pulumi.ComponentResource):
    """
    Outputs: ``name``, ``kubernetes_version``, and ``node_role_arn``, the role that machines join with.

    Destroy removes the log group, but EKS, still writing its last lines, may make it again, and then without a
    retention: ``aws logs delete-log-group --log-group-name /aws/eks/<name>/cluster``. The key is gone 30 days later.
    """

    name: pulumi.Output[str]
    kubernetes_version: pulumi.Output[str]
    node_role_arn: pulumi.Output[str]

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("qwen:aws:Cluster", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        key = aws.kms.Key(
            name,
            description=f"Kubernetes secrets of {args.name}",
            enable_key_rotation=True,
            deletion_window_in_days=30,
            opts=child,
        )
        aws.kms.Alias(name, name=f"alias/eks/{args.name}", target_key_id=key.key_id, opts=child)
        # EKS writes to a group of this name; made first, it has a retention.
        log = aws.cloudwatch.LogGroup(
            name, name=f"/aws/eks/{args.name}/cluster", retention_in_days=LOG_DAYS, opts=child
        )
        role = ServiceRole(
            f"{name}-control-plane", ServiceRoleArgs("eks.amazonaws.com", ("AmazonEKSClusterPolicy",)), child
        )
        cluster = aws.eks.Cluster(
            name,
            name=args.name,
            version=args.kubernetes_version,
            role_arn=role.arn,
            access_config={"authentication_mode": "API", "bootstrap_cluster_creator_admin_permissions": True},
            bootstrap_self_managed_addons=False,  # they come as EKS add-ons, in versions that follow the cluster's
            enabled_cluster_log_types=["api", "audit", "authenticator", "controllerManager", "scheduler"],
            encryption_config={"resources": ["secrets"], "provider": {"key_arn": key.arn}},
            vpc_config={
                "subnet_ids": list(args.subnet_ids),
                "endpoint_private_access": True,
                "endpoint_public_access": bool(args.api_cidrs),
                "public_access_cidrs": list(args.api_cidrs) or None,
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[log, role]),
        )
        for arn in args.administrators:
            who = hashlib.sha256(arn.encode()).hexdigest()[:8]  # two accounts may both have a role "admin"
            entry = aws.eks.AccessEntry(f"{name}-{who}", cluster_name=cluster.name, principal_arn=arn, opts=child)
            aws.eks.AccessPolicyAssociation(
                f"{name}-{who}",
                cluster_name=cluster.name,
                principal_arn=entry.principal_arn,
                policy_arn=ADMINISTRATOR,
                access_scope={"type": "cluster"},
                opts=child,
            )
        node_role = ServiceRole(
            f"{name}-node",
            ServiceRoleArgs(
                "ec2.amazonaws.com",
                (
                    "AmazonEKSWorkerNodePolicy",
                    "AmazonEKS_CNI_Policy",
                    "AmazonEC2ContainerRegistryPullOnly",
                    "AmazonSSMManagedInstanceCore",  # a shell on a node without SSH and without an open port
                ),
            ),
            child,
        )
        self.name = cluster.name
        self.kubernetes_version = cluster.version
        self.node_role_arn = node_role.arn
        self.register_outputs(
            {"name": self.name, "kubernetesVersion": self.kubernetes_version, "nodeRoleArn": self.node_role_arn}
        )
