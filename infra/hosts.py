"""
Plain GPU machines in private subnets; Ansible's roles take them from there.

Nothing reaches them from outside, not even clients of the model: ssh goes through Systems Manager (``ssh_config``),
and a client either runs inside the network or brings its port along: with ``service: {type: NodePort}`` in the play's
``serve_own_values``, ``ssh -L 8000:localhost:<node port> <host>``.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.service_role import ServiceRole, ServiceRoleArgs

UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"

SSH_HOST = """\
Host {host}
  HostName {instance_id}
  User ubuntu
  IdentityFile ~/.ssh/id_ed25519
  ProxyCommand sh -c "aws ec2-instance-connect send-ssh-public-key --region {region} --instance-id %h \
--instance-os-user %r --ssh-public-key file://$HOME/.ssh/id_ed25519.pub >&2 && aws ssm start-session \
--region {region} --target %h --document-name AWS-StartSSHSession --parameters portNumber=%p"
"""


@dataclass(frozen=True)
class HostsArgs:
    """*count* machines, dealt out over *subnet_ids*; *disk_gib* with what the system takes."""

    vpc_id: pulumi.Input[str]
    subnet_ids: tuple[pulumi.Input[str], ...]
    instance_type: str
    count: int
    disk_gib: int


class Hosts(pulumi.ComponentResource):
    """Output: ``instance_ids``."""

    instance_ids: list[pulumi.Output[str]]

    def __init__(self, name: str, args: HostsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("qwen:aws:Hosts", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        image = aws.ssm.get_parameter_output(name=UBUNTU, opts=pulumi.InvokeOutputOptions(parent=self))
        role = ServiceRole(name, ServiceRoleArgs("ec2.amazonaws.com", ("AmazonSSMManagedInstanceCore",)), child)
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


def ssh_config(name: str, region: str, instance_ids: list[pulumi.Output[str]]) -> pulumi.Output[str]:
    """
    For ``~/.ssh/config``: the hosts under the names that ``inventory.yml`` has for them.

    A session of Systems Manager carries ssh; EC2 Instance Connect lets the key in for the minute that a login takes.
    Needs the AWS CLI with its session-manager-plugin, and a key in ``~/.ssh/id_ed25519``.
    """
    names = [name] if len(instance_ids) == 1 else [f"{name}-{number + 1}" for number in range(len(instance_ids))]
    return pulumi.Output.all(*instance_ids).apply(
        lambda ids: "".join(
            SSH_HOST.format(host=host, instance_id=instance_id, region=region)
            for host, instance_id in zip(names, ids, strict=True)
        )
    )
