"""EKS add-ons: the parts of Kubernetes that EKS itself installs and keeps current for the cluster's version."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True)
class AddonsArgs:
    """*addons* are EKS add-on names; each gets the version that EKS recommends when it is created."""

    cluster_name: pulumi.Input[str]
    addons: tuple[str, ...]


class Addons(pulumi.ComponentResource):
    """No outputs; what must come after depends on the component."""

    def __init__(self, name: str, args: AddonsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("qwen:aws:Addons", name, None, opts)
        for addon in args.addons:
            aws.eks.Addon(
                addon,
                addon_name=addon,
                cluster_name=args.cluster_name,
                resolve_conflicts_on_update="OVERWRITE",
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.register_outputs({})
