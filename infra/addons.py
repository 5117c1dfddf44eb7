"""EKS add-ons: the parts of Kubernetes that EKS itself installs, each in its default version for the cluster's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True)
class AddonsArgs:
    """
    *addons* are EKS add-on names with their settings, none being the add-on's own.

    The version is looked up at every ``up``: a newer cluster, or a newer default of EKS, updates the add-on.
    """

    cluster_name: pulumi.Input[str]
    kubernetes_version: pulumi.Input[str]
    addons: Mapping[str, Mapping[str, str]]


class Addons(pulumi.ComponentResource):
    """No outputs; what must come after depends on the component."""

    def __init__(self, name: str, args: AddonsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("qwen:aws:Addons", name, None, opts)
        for addon, settings in args.addons.items():
            default = aws.eks.get_addon_version_output(
                addon_name=addon,
                kubernetes_version=args.kubernetes_version,
                opts=pulumi.InvokeOutputOptions(parent=self),
            )
            aws.eks.Addon(
                addon,
                addon_name=addon,
                addon_version=default.version,
                cluster_name=args.cluster_name,
                configuration_values=json.dumps(settings) if settings else None,
                resolve_conflicts_on_update="OVERWRITE",
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.register_outputs({})
