"""What the program refuses, all at once, before it declares anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime import set_all_config

from infra.settings import Settings, read_settings
from sizing.errors import BadRequest
from sizing.facts.catalogue import load_facts

ROOT = Path(__file__).parents[2]
STACK = "prod-qwen3-8b"


@pytest.fixture(autouse=True)
def _no_configuration_is_left_behind() -> Iterator[None]:
    yield
    set_all_config({})


@pytest.fixture
def plan() -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((ROOT / "deployments" / STACK / "plan.json").read_text(encoding="utf-8"))
    plan["placement"] |= {"kind": "aws-eks", "region": "us-east-1", "zone_ids": ["use1-az1", "use1-az2"]}
    return plan


def settings(folder: Path, plan: dict[str, Any], **changed: str) -> Settings:
    """The settings for *plan* with nothing decided but the zones, and some keys *changed* (lists as JSON)."""
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text(encoding="utf-8"))["config"]
    values = {f"qwen:{key}": _text(of["default"]) for key, of in declared.items() if "default" in of}
    values["qwen:zoneIds"] = '["use1-az1", "use1-az2"]'
    set_all_config(values | {_full_key(key): value for key, value in changed.items()})
    deployment = folder / STACK
    deployment.mkdir()
    (deployment / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    return read_settings(deployment, pulumi.Config("qwen"))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _full_key(key: str) -> str:
    return key.replace("_", ":") if "_" in key else f"qwen:{key}"


def problems(folder: Path, plan: dict[str, Any], **changed: str) -> tuple[str, ...]:
    with pytest.raises(BadRequest) as refused:
        settings(folder, plan, **changed)
    return refused.value.problems


def test_beside_the_zones_the_defaults_need_no_decision(tmp_path: Path, plan: dict[str, Any]) -> None:
    found = settings(tmp_path, plan)
    assert found.zone_ids == found.cluster_zone_ids == found.gpu_zone_ids == ("use1-az1", "use1-az2")
    assert found.budget_email is None


def test_gpu_machines_stand_in_the_plans_zones_and_the_control_plane_in_the_configured_ones(
    tmp_path: Path, plan: dict[str, Any]
) -> None:
    found = settings(tmp_path, plan, zoneIds='["use1-az4", "use1-az6"]')
    assert (found.cluster_zone_ids, found.gpu_zone_ids) == (("use1-az4", "use1-az6"), ("use1-az1", "use1-az2"))


def test_every_problem_is_reported_at_once(tmp_path: Path, plan: dict[str, Any]) -> None:
    found = problems(
        tmp_path,
        plan,
        vpcCidr="10.0.0.1/16",
        zoneIds='["us-east-1a", "use1-az3"]',
        apiCidrs='["0.0.0.0/0", "10.0.0.0/33"]',
        administrators='["arn:aws:sts::123456789012:assumed-role/admin/me"]',
        systemNodes="0",
        budgetEmail="nobody",
        aws_region="eu-west-1",
    )
    beginnings = [
        "aws:region is eu-west-1, the plan was made and priced for us-east-1",
        "vpcCidr is not an IPv4 range: 10.0.0.1/16 has host bits set",
        "The zone id 'us-east-1a' is not one of a region",
        "zoneIds has use1-az3, where there is no EKS control plane",
        "apiCidrs opens the Kubernetes API to the whole internet",
        "apiCidrs has a range that is not IPv4: ",
        "administrators has 'arn:aws:sts::123456789012:assumed-role/admin/me'",
        "systemNodes is 0; ",
        "budgetEmail is not an e-mail address.",
    ]
    assert len(found) == len(beginnings)
    assert all(one.startswith(beginning) for one, beginning in zip(found, beginnings, strict=True))


def test_an_address_that_may_be_secret_is_not_repeated(tmp_path: Path, plan: dict[str, Any]) -> None:
    assert "hunter2" not in " ".join(problems(tmp_path, plan, budgetEmail="hunter2"))


@pytest.mark.parametrize(
    "zones", [[], ["use1-az1"], ["use1-az1", "use1-az1"], ["use1-az1", "use1-az2", "use1-az4", "use1-az5"]]
)
def test_the_control_plane_gets_two_or_three_zones_that_a_person_names(
    tmp_path: Path, plan: dict[str, Any], zones: list[str]
) -> None:
    plan["placement"]["zone_ids"] = ["use1-az3", "use1-az5"]
    [problem] = problems(tmp_path, plan, zoneIds=json.dumps(zones))
    assert problem.startswith(f"zoneIds is {', '.join(zones) or 'empty'}; the EKS control plane takes 2 or 3 different")
    assert problem.endswith("are offered in use1-az5: pulumi config set --path 'zoneIds[0]' <zone id>")


def test_gpu_machines_stay_in_the_zones_of_the_plan(tmp_path: Path, plan: dict[str, Any]) -> None:
    plan["placement"]["zone_ids"] = ["use1-az2", "use1-az3"]
    found = settings(tmp_path, plan, zoneIds='["use1-az6", "use1-az4"]')
    assert found.zone_ids == ("use1-az6", "use1-az4", "use1-az2", "use1-az3")
    assert found.cluster_zone_ids == ("use1-az6", "use1-az4")
    assert found.gpu_zone_ids == ("use1-az2", "use1-az3")


def test_a_plan_for_another_place_names_the_tool_that_serves_it(tmp_path: Path, plan: dict[str, Any]) -> None:
    plan["placement"] |= {"kind": "home", "region": None, "zone_ids": []}
    [problem] = problems(tmp_path, plan)
    assert problem == f"{STACK} is planned for the place 'home', which ansible-playbook serves, not pulumi."


def test_the_plan_of_another_deployment_is_refused(tmp_path: Path, plan: dict[str, Any]) -> None:
    [problem] = problems(tmp_path, plan | {"name": "other"})
    assert problem == f"The plan in deployments/{STACK} is of 'other'; run: qwenkit write {STACK}"


def test_a_plan_for_spot_hosts_is_not_placed_on_demand(tmp_path: Path, plan: dict[str, Any]) -> None:
    plan["placement"]["purchase"] = "spot"
    [problem] = problems(tmp_path, plan)
    assert problem.startswith("The plan buys spot hosts, which infra/ does not; leave place.purchase out")


def test_a_deployment_without_a_plan_names_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=f"run: qwenkit write {STACK}"):
        read_settings(tmp_path / STACK, pulumi.Config("qwen"))


def test_the_system_machines_are_the_ones_that_the_price_of_the_place_counts(
    tmp_path: Path, plan: dict[str, Any]
) -> None:
    found = settings(tmp_path, plan)
    [nodes] = [line for line in load_facts().places["aws-eks"].lines if line.name == "system nodes"]
    assert (found.system_instance_type, found.system_nodes) == (nodes.item, nodes.count)
