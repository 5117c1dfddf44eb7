"""``pulumi up --stack <name>``: places ``deployments/<name>/plan.json`` on AWS."""

from __future__ import annotations

from pathlib import Path

import pulumi
import pulumi_aws as aws

from infra.access import Access, AccessArgs
from infra.addons import Addons, AddonsArgs
from infra.budget import Budget, BudgetArgs
from infra.cluster import Cluster, ClusterArgs
from infra.hosts import Hosts, HostsArgs
from infra.network import Network, NetworkArgs
from infra.nodes import Nodes, NodesArgs
from infra.settings import read_settings
from infra.weights import Weights
from sizing.errors import KitError
from sizing.freshness import stale

# What the machines promise and the chart relies on: tests/infra holds the two together.
GPU_TAINTS = {"nvidia.com/gpu": "true"}
GPU_LABELS = {"qwenkit.dev/pool": "gpu", "nvidia.com/gpu.present": "true"}  # the second: for NVIDIA's device plugin
SYSTEM_DISK_GIB = 30

deployment = Path(__file__).parents[1] / "deployments" / pulumi.get_stack()
try:
    settings = read_settings(deployment, pulumi.Config())
except KitError as error:
    raise pulumi.RunError(str(error)) from None
for sentence in stale(deployment):
    pulumi.log.warn(sentence)
if settings.budget_email is None:
    pulumi.log.warn("Nobody hears when the budget is spent: pulumi config set --secret budgetEmail <address>")

account = aws.Provider("aws", region=settings.region, default_tags={"tags": {"Deployment": settings.name}})


def after(*resources: pulumi.Resource) -> pulumi.ResourceOptions:
    """Placed in the account, once all of *resources* are there."""
    return pulumi.ResourceOptions(providers=[account], depends_on=list(resources))


network = Network("network", NetworkArgs(settings.vpc_cidr, settings.region, settings.zone_ids), after())
gpu_subnet_ids = tuple(network.private_subnet_ids[zone] for zone in settings.gpu_zone_ids)
weights = Weights("weights", after())
Budget("budget", BudgetArgs(settings.name, settings.usd_per_month, settings.budget_email), after())

pulumi.export("region", settings.region)
pulumi.export("planDigest", settings.plan_digest)
pulumi.export("weightsBucket", weights.bucket)

if settings.place == "aws-eks":
    cluster = Cluster(
        "cluster",
        ClusterArgs(
            name=settings.name,
            kubernetes_version=settings.kubernetes_version,
            subnet_ids=tuple(network.private_subnet_ids.values()),
            api_cidrs=settings.api_cidrs,
            administrators=settings.administrators,
        ),
        after(network),
    )
    node_addons = Addons(
        "node-addons",
        AddonsArgs(cluster.name, ("vpc-cni", "kube-proxy", "eks-pod-identity-agent", "eks-node-monitoring-agent")),
        after(cluster),
    )
    system = Nodes(
        "system",
        NodesArgs(
            cluster_name=cluster.name,
            kubernetes_version=cluster.kubernetes_version,
            role_arn=cluster.node_role_arn,
            subnet_ids=tuple(network.private_subnet_ids.values()),
            instance_type=settings.system_instance_type,
            ami_type="AL2023_x86_64_STANDARD",
            count=settings.system_nodes,
            disk_gib=SYSTEM_DISK_GIB,
        ),
        after(node_addons),
    )
    Addons("cluster-addons", AddonsArgs(cluster.name, ("coredns",)), after(system))
    Nodes(
        "gpu",
        NodesArgs(
            cluster_name=cluster.name,
            kubernetes_version=cluster.kubernetes_version,
            role_arn=cluster.node_role_arn,
            subnet_ids=gpu_subnet_ids,
            instance_type=settings.host_type,
            ami_type="AL2023_x86_64_NVIDIA",
            count=settings.hosts,
            disk_gib=settings.disk_gib,
            labels=GPU_LABELS,
            taints=GPU_TAINTS,
        ),
        after(node_addons),
    )
    Access(
        "model-server",
        AccessArgs(cluster.name, settings.namespace, settings.service_account, weights.bucket_arn),
        after(node_addons),
    )
    pulumi.export("cluster", cluster.name)
    pulumi.export("kubeconfig", f"aws eks update-kubeconfig --region {settings.region} --name {settings.name}")
    pulumi.export("namespace", settings.namespace)
    pulumi.export("serviceAccount", settings.service_account)
    pulumi.export("gpuTaints", GPU_TAINTS)
    pulumi.export("gpuLabels", GPU_LABELS)
else:
    hosts = Hosts(
        "gpu-host",
        HostsArgs(
            vpc_id=network.vpc_id,
            subnet_ids=gpu_subnet_ids,
            instance_type=settings.host_type,
            count=settings.hosts,
            disk_gib=settings.disk_gib,
            bucket_arn=weights.bucket_arn,
        ),
        after(network),
    )
    pulumi.export("instanceIds", hosts.instance_ids)
    pulumi.export("shell", f"aws ssm start-session --region {settings.region} --target <instance id>")
