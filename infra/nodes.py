"""A group of equal machines that join the cluster: encrypted disk, hardened metadata service, repaired when broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True)
class NodesArgs:
    """
    *count* machines, no more and no fewer; *disk_gib* with what the system takes; taints as (key, value).

    *scarce* machines may not be had twice, by quota or capacity: a replacement ends the old group first, and the
    service with it until the new one is up.
    """

    cluster_name: pulumi.Input[str]
    kubernetes_version: pulumi.Input[str]
    role_arn: pulumi.Input[str]
    subnet_ids: Sequence[pulumi.Input[str]]
    instance_type: str
    ami_type: str
    count: int
    disk_gib: int
    deployment: str
    scarce: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    taints: dict[str, str] = field(default_factory=dict)


class Nodes(pulumi.ComponentResource):
    """Output: ``group_name``."""

    group_name: pulumi.Output[str]

    def __init__(self, name: str, args: NodesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("qwen:aws:Nodes", name, None, opts)
        template = aws.ec2.LaunchTemplate(
            name,
            update_default_version=True,
            # A hop limit of 1 keeps pods from the metadata service, and so from the machine's own credentials.
            metadata_options={"http_tokens": "required", "http_put_response_hop_limit": 1, "http_endpoint": "enabled"},
            block_device_mappings=[
                {
                    "device_name": "/dev/xvda",
                    "ebs": {
                        "volume_type": "gp3",
                        "volume_size": args.disk_gib,
                        "encrypted": "true",
                        "delete_on_termination": "true",
                    },
                }
            ],
            # The provider's default tags end at the group; the budget counts machines and disks by these.
            tag_specifications=[
                {"resource_type": kind, "tags": {"Name": name, "Deployment": args.deployment}}
                for kind in ("instance", "volume")
            ],
            opts=pulumi.ResourceOptions(parent=self),
        )
        group = aws.eks.NodeGroup(
            name,
            cluster_name=args.cluster_name,
            version=args.kubernetes_version,
            node_role_arn=args.role_arn,
            subnet_ids=list(args.subnet_ids),
            instance_types=[args.instance_type],
            ami_type=args.ami_type,
            capacity_type="ON_DEMAND",
            scaling_config={"min_size": args.count, "desired_size": args.count, "max_size": args.count},
            # MINIMAL: an update ends a machine before it asks for the next one, as there may be none to spare.
            update_config={"max_unavailable": 1, "update_strategy": "MINIMAL"},
            node_repair_config={"enabled": True},
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            labels=args.labels,
            taints=[{"key": key, "value": value, "effect": "NO_SCHEDULE"} for key, value in args.taints.items()],
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=args.scarce),
        )
        self.group_name = group.node_group_name
        self.register_outputs({"groupName": self.group_name})
