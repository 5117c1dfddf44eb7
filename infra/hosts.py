"""Plain GPU machines in private subnets, reached through Systems Manager; Ansible's roles take them from there."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.service_role import ServiceRole, ServiceRoleArgs

UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"


@dataclass(frozen=True)
class HostsArgs:
    """*count* machines, dealt out over *subnet_ids*; *disk_gib* with what the system takes."""

    vpc_id: pulumi.Input[str]
    subnet_ids: tuple[pulumi.Input[str], ...]
    instance_type: str
    count: int
    disk_gib: int
    bucket_arn: pulumi.Input[str]


class Hosts(pulumi.ComponentResource):
    """Output: ``instance_ids``."""

    instance_ids: list[pulumi.Output[str]]

    def __init__(self, name: str, args: HostsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("qwen:aws:Hosts", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        image = aws.ssm.get_parameter_output(name=UBUNTU, opts=pulumi.InvokeOutputOptions(parent=self))
        role = ServiceRole(
            name, ServiceRoleArgs("ec2.amazonaws.com", ("AmazonSSMManagedInstanceCore",), args.bucket_arn), child
        )
        profile = aws.iam.InstanceProfile(name, role=role.name, opts=child)
        closed = aws.ec2.SecurityGroup(
            name,
            description="Nothing comes in; Systems Manager is reached from inside",
            vpc_id=args.vpc_id,
            egress=[{"protocol": "-1", "from_port": 0, "to_port": 0, "cidr_blocks": ["0.0.0.0/0"]}],
            opts=child,
        )
        self.instance_ids = [
            aws.ec2.Instance(
                f"{name}-{number}",
                ami=image.value,
                instance_type=args.instance_type,
                subnet_id=args.subnet_ids[number % len(args.subnet_ids)],
                vpc_security_group_ids=[closed.id],
                iam_instance_profile=profile.name,
                metadata_options={
                    "http_endpoint": "enabled",
                    "http_tokens": "required",
                    "http_put_response_hop_limit": 1,
                },
                root_block_device={
                    "volume_type": "gp3",
                    "volume_size": args.disk_gib,
                    "encrypted": True,
                },
                tags={"Name": f"{name}-{number}"},
                # A newer Ubuntu image is no reason to replace a machine that serves.
                opts=pulumi.ResourceOptions(parent=self, ignore_changes=["ami"]),
            ).id
            for number in range(args.count)
        ]
        self.register_outputs({"instanceIds": self.instance_ids})
