"""What the model server's pods may do on AWS: read the weights bucket, through EKS Pod Identity, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.service_role import ServiceRole, ServiceRoleArgs


@dataclass(frozen=True)
class AccessArgs:
    """*namespace* and *service_account* are the ones that the chart's pods run under."""

    cluster_name: pulumi.Input[str]
    namespace: str
    service_account: str
    bucket_arn: pulumi.Input[str]


class Access(pulumi.ComponentResource):
    """Output: ``role_arn``."""

    role_arn: pulumi.Output[str]

    def __init__(self, name: str, args: AccessArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("qwen:aws:Access", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        role = ServiceRole(name, ServiceRoleArgs("pods.eks.amazonaws.com", readable_bucket_arn=args.bucket_arn), child)
        aws.eks.PodIdentityAssociation(
            name,
            cluster_name=args.cluster_name,
            namespace=args.namespace,
            service_account=args.service_account,
            role_arn=role.arn,
            opts=child,
        )
        self.role_arn = role.arn
        self.register_outputs({"roleArn": self.role_arn})
