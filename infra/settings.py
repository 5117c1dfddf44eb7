"""
Everything the program needs to know, as one frozen object made of the committed plan and the stack's configuration.

What is wrong is found here, all of it at once, before any resource is declared.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pulumi

from sizing.errors import BadRequest
from sizing.plan.plan import Plan

IAM_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:(role|user)/.+")
ZONE_ID = re.compile(r"[a-z]+\d-az([1-8])")  # use1-az4; local and wavelength zones have longer ids
# Zones without an EKS control plane (EKS user guide, "Subnet requirements for clusters"); nodes may be in them.
NO_CONTROL_PLANE = {"use1-az3", "usw1-az2", "cac1-az3"}
CONTROL_PLANE_ZONES = (2, 3)


@dataclass(frozen=True)
class Settings:
    """What ``__main__`` places. Sizes in GiB, money in dollars a month."""

    name: str
    place: Literal["aws-eks", "aws-ec2"]
    region: str
    vpc_cidr: str
    zone_ids: tuple[str, ...]
    cluster_zone_ids: tuple[str, ...]
    gpu_zone_ids: tuple[str, ...]
    host_type: str
    hosts: int
    disk_gib: int
    usd_per_month: Decimal
    plan_digest: str
    api_cidrs: tuple[str, ...]
    administrators: tuple[str, ...]
    kubernetes_version: str
    system_instance_type: str
    system_nodes: int
    namespace: str
    service_account: str
    budget_email: str | None


def read_settings(deployment: Path, config: pulumi.Config) -> Settings:
    """
    The settings of the stack named like the folder *deployment*.

    Raises ``KitError`` with one sentence for each problem of the plan and the configuration.
    """
    file = deployment / "plan.json"
    plan = Plan.load(file)
    place, region = plan.placement.kind, plan.placement.region
    if place not in ("aws-eks", "aws-ec2") or region is None:
        tool = "ansible-playbook" if place == "home" else "helm"
        raise BadRequest(f"{plan.name} is planned for the place {place!r}, which {tool} serves, not pulumi.")
    problems = _problems(plan, deployment.name, config)
    if problems:
        raise BadRequest(*problems)
    return Settings(
        name=plan.name,
        place=place,
        region=region,
        vpc_cidr=config.require("vpcCidr"),
        zone_ids=_zone_ids(plan, config),
        cluster_zone_ids=_list(config, "zoneIds"),
        gpu_zone_ids=plan.placement.zone_ids or _list(config, "zoneIds"),
        host_type=plan.placement.host_type,
        hosts=plan.placement.hosts,
        disk_gib=plan.placement.disk_gib,
        usd_per_month=plan.cost.usd_per_month,
        plan_digest="sha256:" + hashlib.sha256(file.read_bytes()).hexdigest(),
        api_cidrs=_list(config, "apiCidrs"),
        administrators=_list(config, "administrators"),
        kubernetes_version=config.require("kubernetesVersion"),
        system_instance_type=config.require("systemInstanceType"),
        system_nodes=config.require_int("systemNodes"),
        namespace=config.require("namespace"),
        service_account=config.require("serviceAccount"),
        budget_email=config.get("budgetEmail") or None,
    )


def _list(config: pulumi.Config, key: str) -> tuple[str, ...]:
    return tuple(config.require_object(key))


def _zone_ids(plan: Plan, config: pulumi.Config) -> tuple[str, ...]:
    """All zones of the network, the lasting ones first: the NAT gateway stays when a plan moves to other zones."""
    return tuple(dict.fromkeys([*_list(config, "zoneIds"), *sorted(plan.placement.zone_ids)]))


def _problems(plan: Plan, stack: str, config: pulumi.Config) -> list[str]:
    found = []
    if plan.name != stack:
        found.append(f"The plan in deployments/{stack} is of {plan.name!r}; run: qwenkit write {stack}")
    if plan.placement.purchase != "on-demand":
        found.append(
            f"The plan buys {plan.placement.purchase} hosts, which infra/ does not; "
            f"leave place.purchase out of request.toml, and run: qwenkit write {stack}"
        )
    region = pulumi.Config("aws").get("region")
    if region is not None and region != plan.placement.region:
        found.append(
            f"aws:region is {region}, the plan was made and priced for {plan.placement.region}; "
            "remove aws:region, or change place.region in request.toml and write the plan again."
        )
    found += _network_problems(config.require("vpcCidr"))
    found += _zone_problems(plan, config)
    for cidr in _list(config, "apiCidrs"):
        found += _api_cidr_problems(cidr)
    for arn in _list(config, "administrators"):
        if not IAM_PRINCIPAL.fullmatch(arn):
            found.append(
                f"administrators has {arn!r}, which is not the ARN of an IAM role or user "
                "(arn:aws:iam::<account>:role/<name>); of an assumed role give the role itself."
            )
    if config.require_int("systemNodes") < 1:
        found.append(f"systemNodes is {config.require('systemNodes')}; the cluster's own services need at least 1.")
    email = config.get("budgetEmail")
    if email and not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        found.append("budgetEmail is not an e-mail address.")  # the value may be a secret
    return found


def _network_problems(cidr: str) -> list[str]:
    try:
        network = ipaddress.IPv4Network(cidr)
    except ValueError as error:
        return [f"vpcCidr is not an IPv4 range: {error}."]
    if not 16 <= network.prefixlen <= 20:
        return [f"vpcCidr {cidr} is a /{network.prefixlen}; it takes /16 to /20 to hold a subnet pair in every zone."]
    return []


def _zone_problems(plan: Plan, config: pulumi.Config) -> list[str]:
    zones = _zone_ids(plan, config)
    found = [
        f"The zone id {zone!r} is not one of a region (such as use1-az4); zone names (us-east-1a) differ by account."
        for zone in zones
        if not ZONE_ID.fullmatch(zone)
    ]
    if plan.placement.kind == "aws-eks":
        found += _control_plane_problems(plan, _list(config, "zoneIds"))
    elif not zones:
        found.append(
            f"The plan names no zone for {plan.placement.host_type} in {plan.placement.region}. "
            "Add one that offers it: pulumi config set --path 'zoneIds[0]' <zone id>"
        )
    return found


def _control_plane_problems(plan: Plan, zones: tuple[str, ...]) -> list[str]:
    least, most = CONTROL_PLANE_ZONES
    found = []
    if not least <= len(set(zones)) <= most or len(set(zones)) < len(zones):
        suitable = [zone for zone in plan.placement.zone_ids if zone not in NO_CONTROL_PLANE]
        found.append(
            f"zoneIds is {', '.join(zones) or 'empty'}; the EKS control plane takes {least} or {most} different zones "
            f"of {plan.placement.region} and keeps them for life. The plan's machines are offered in "
            f"{', '.join(suitable) or 'none that it can use'}: pulumi config set --path 'zoneIds[0]' <zone id>"
        )
    found += [
        f"zoneIds has {zone}, where there is no EKS control plane; name another zone of {plan.placement.region}."
        for zone in zones
        if zone in NO_CONTROL_PLANE
    ]
    return found


def _api_cidr_problems(cidr: str) -> list[str]:
    try:
        network = ipaddress.IPv4Network(cidr)
    except ValueError as error:
        return [f"apiCidrs has a range that is not IPv4: {error}."]
    if network.prefixlen == 0:
        return ["apiCidrs opens the Kubernetes API to the whole internet (0.0.0.0/0); give your own addresses."]
    return []
