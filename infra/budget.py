"""A monthly budget of what the plan costs, and a mail before the deployment spends more."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import pulumi
import pulumi_aws as aws

ACTIVATE = "aws ce update-cost-allocation-tags-status --cost-allocation-tags-status TagKey=Deployment,Status=Active"


@dataclass(frozen=True)
class BudgetArgs:
    """
    *email* is told when the month's forecast passes the budget, and when the money itself does; None tells nobody.

    It counts what carries the tag ``Deployment``, and so nothing until someone activates that tag for billing
    (``ACTIVATE``), which AWS offers about a day after the first resource has it.
    """

    deployment: str
    usd_per_month: Decimal
    email: str | None


class Budget(pulumi.ComponentResource):
    """No outputs."""

    def __init__(self, name: str, args: BudgetArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("qwen:aws:Budget", name, None, opts)
        aws.budgets.Budget(
            name,
            name=f"{args.deployment}-monthly",
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=f"{args.usd_per_month:.2f}",
            limit_unit="USD",
            cost_filters=[{"name": "TagKeyValue", "values": [f"user:Deployment${args.deployment}"]}],
            notifications=[
                {
                    "notification_type": kind,
                    "comparison_operator": "GREATER_THAN",
                    "threshold": 100,
                    "threshold_type": "PERCENTAGE",
                    "subscriber_email_addresses": pulumi.Output.secret([args.email]),  # out of logs and state
                }
                for kind in ("FORECASTED", "ACTUAL")
                if args.email
            ],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
