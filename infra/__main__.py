"""``pulumi up --stack <name>``: places ``deployments/<name>/plan.json`` on AWS."""

from __future__ import annotations

from pathlib import Path

import pulumi
import pulumi_aws as aws

from infra.access import Access, AccessArgs
from infra.addons import Addons, AddonsArgs
from infra.budget import ACTIVATE, Budget, BudgetArgs
from infra.cluster import Cluster, ClusterArgs
from infra.hosts import Hosts, HostsArgs, ssh_config
from infra.network import Network, NetworkArgs
from infra.nodes import Nodes, NodesArgs
from infra.settings import read_settings
from infra.weights import Weights
from sizing.errors import KitError
from sizing.planning.freshness import stale

# What the machines promise and the chart relies on: tests/infra holds the two together.
GPU_TAINTS = {"nvidia.com/gpu": "true"}
GPU_LABELS = {"qwenkit.dev/pool": "gpu", "nvidia.com/gpu.present": "true"}  # the second: for NVIDIA's device plugin
SYSTEM_NODE_DISK_GIB = 30

deployment = Path(__file__).parents[1] / "deployments" / pulumi.get_stack()
try:
    settings = read_settings(deployment, pulumi.Config())
except KitError as error:
    raise pulumi.RunError(str(error)) from None
for sentence in stale(deployment):
    pulumi.log.warn(sentence)
if settings.budget_email is None:
    pulumi.log.warn("Nobody hears when the budget is spent: pulumi config set --secret budgetEmail <address>")
if settings.place == "aws-eks" and not settings.api_cidrs:
    pulumi.log.warn(
        "Only the network itself reaches the Kubernetes API, so kubectl and helm do not from here: "
        "pulumi config set --path 'apiCidrs[0]' <your address>/32"
    )

account = aws.Provider("aws", region=settings.region, default_tags={"tags": {"Deployment": settings.name}})


def after(*resources: pulumi.Resource) -> pulumi.ResourceOptions:
    """Placed in the account, once all of *resources* are there."""
    return pulumi.ResourceOptions(providers=[account], depends_on=list(resources))


network = Network("network", NetworkArgs(settings.vpc_cidr, settings.region, settings.zone_ids), after())
gpu_subnet_ids = tuple(network.private_subnet_ids[zone] for zone in settings.gpu_zone_ids)
Budget("budget", BudgetArgs(settings.name, settings.usd_per_month, settings.budget_email), after())

pulumi.export("region", settings.region)
pulumi.export("planDigest", settings.plan_digest)
pulumi.export("activateBudget", ACTIVATE)

if settings.place == "aws-eks":
    cluster_subnet_ids = tuple(network.private_subnet_ids[zone] for zone in settings.cluster_zone_ids)
    cluster = Cluster(
        "cluster",
        ClusterArgs(
            name=settings.name,
            kubernetes_version=settings.kubernetes_version,
            subnet_ids=cluster_subnet_ids,
            api_cidrs=settings.api_cidrs,
            administrators=settings.administrators,
        ),
        after(network),
    )
    node_addons = Addons(
        "node-addons",
        AddonsArgs(
            cluster.name,
            cluster.kubernetes_version,
            {
                "vpc-cni": {"enableNetworkPolicy": "true"},  # the chart's NetworkPolicy is only words otherwise
                "kube-proxy": {},
                "eks-pod-identity-agent": {},
                "eks-node-monitoring-agent": {},
            },
        ),
        after(cluster),
    )
    system = Nodes(
        "system",
        NodesArgs(
            cluster_name=cluster.name,
            kubernetes_version=cluster.kubernetes_version,
            role_arn=cluster.node_role_arn,
            subnet_ids=cluster_subnet_ids,
            instance_type=settings.system_instance_type,
            ami_type="AL2023_x86_64_STANDARD",
            count=settings.system_nodes,
            disk_gib=SYSTEM_NODE_DISK_GIB,
            deployment=settings.name,
        ),
        after(node_addons),
    )
    Addons("cluster-addons", AddonsArgs(cluster.name, cluster.kubernetes_version, {"coredns": {}}), after(system))
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
            deployment=settings.name,
            scarce=True,
            labels=GPU_LABELS,
            taints=GPU_TAINTS,
        ),
        after(node_addons),
    )
    weights = Weights("weights", after())
    Access(
        "model-server",
        AccessArgs(cluster.name, settings.namespace, settings.service_account, weights.bucket_arn),
        after(node_addons),
    )
    pulumi.export("weightsBucket", weights.bucket)
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
        ),
        after(network),
    )
    pulumi.export("instanceIds", hosts.instance_ids)
    pulumi.export("sshConfig", ssh_config(settings.name, settings.region, hosts.instance_ids))
