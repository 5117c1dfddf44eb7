"""An IAM role that one AWS service takes on: policies that AWS maintains, and at most one bucket to read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True)
class ServiceRoleArgs:
    """*policies* are names of AWS-managed policies; *readable_bucket_arn* adds listing and getting of its objects."""

    service: str
    policies: tuple[str, ...] = ()
    readable_bucket_arn: pulumi.Input[str] | None = None


class ServiceRole(pulumi.ComponentResource):
    """Outputs: ``name`` and ``arn``. Who needs the policies to be there, too, depends on the component."""

    name: pulumi.Output[str]
    arn: pulumi.Output[str]

    def __init__(self, name: str, args: ServiceRoleArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("qwen:aws:ServiceRole", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        # Pod Identity also names the pod in its session, and has to be allowed to.
        actions = ["sts:AssumeRole", "sts:TagSession"] if args.service.startswith("pods.") else ["sts:AssumeRole"]
        trust = {"Effect": "Allow", "Principal": {"Service": args.service}, "Action": actions}
        role = aws.iam.Role(name, assume_role_policy=json.dumps(_policy(trust)), opts=child)
        for policy in args.policies:
            aws.iam.RolePolicyAttachment(
                f"{name}-{policy}", role=role.name, policy_arn=f"arn:aws:iam::aws:policy/{policy}", opts=child
            )
        if args.readable_bucket_arn is not None:
            objects = pulumi.Output.concat(args.readable_bucket_arn, "/*")
            reading = _policy(
                {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": args.readable_bucket_arn},
                {"Effect": "Allow", "Action": "s3:GetObject", "Resource": objects},
            )
            aws.iam.RolePolicy(name, role=role.name, policy=pulumi.Output.json_dumps(reading), opts=child)
        self.name = role.name
        self.arn = role.arn
        self.register_outputs({"name": self.name, "arn": self.arn})


def _policy(*statements: Mapping[str, object]) -> dict[str, object]:
    return {"Version": "2012-10-17", "Statement": list(statements)}
