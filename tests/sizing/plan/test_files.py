"""What a plan becomes on disk: files that say what it says, nothing for what the kit cannot place, no leftovers."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from sizing.errors import BadRequest, Unsupported
from sizing.facts.catalogue import load_facts
from sizing.facts.engine import Engine
from sizing.plan.files import render, write_all
from sizing.plan.plan import Plan
from sizing.planning.freshness import stale
from sizing.planning.planning import plan
from sizing.request.request import Request

FACTS = load_facts()
DEPLOYMENTS = Path(__file__).parents[3] / "deployments"
COMMITTED = sorted(DEPLOYMENTS.glob("*/plan.json"))
LOAD = {"concurrency": 4, "input_tokens": 1024, "output_tokens": 256}
NOT_PLACED: dict[str, tuple[dict[str, Any], str]] = {
    "spot": ({"purchase": "spot"}, "infra/ buys on demand only"),
    "rented": ({"kind": "rented"}, "g6.xlarge is rented"),
    "one replica over two plain machines": ({"kind": "aws-ec2", "hosts_per_replica": 2}, "a replica over 2 hosts"),
    "CPU hosts that are not this machine": ({"gpu": None}, 'the CPU engine is built at the place "local" only'),
}


@cache
def on_plain_machines(gpu: str, replicas: int = 1) -> Plan:
    limits = {"gpus": [gpu], "min_replicas": replicas}
    request = {"model": "qwen3-8b", "load": LOAD, "place": {"kind": "aws-ec2"}, "limits": limits}
    return plan("three", Request.model_validate(request), FACTS)


def inventory_of(made: Plan) -> dict[str, Any]:
    servers: dict[str, Any] = yaml.safe_load(render(made)["inventory.yml"])["home_servers"]
    return servers


def engine_of(made: Plan) -> Engine:
    return FACTS.engines[made.engine.name]


def test_the_inventory_names_the_host_by_its_deployment() -> None:
    assert list(inventory_of(on_plain_machines("L4"))["hosts"]) == ["three"]


def test_the_inventory_names_each_of_several_hosts() -> None:
    made = on_plain_machines("L4", replicas=3)
    assert made.placement.hosts == 3
    assert list(inventory_of(made)["hosts"]) == ["three-1", "three-2", "three-3"]


def test_each_of_several_hosts_serves_its_own_replicas_and_no_other() -> None:
    made = on_plain_machines("L4", replicas=3)
    assert yaml.safe_load(render(made)["values.yaml"])["replicas"] == 1


@pytest.mark.parametrize(("gpu", "decides"), [("B300", "card"), ("RTX PRO 4500", "card"), ("L4", "engine")])
def test_a_plan_wants_the_newer_of_the_drivers_that_card_and_engine_need(gpu: str, decides: str) -> None:
    made = on_plain_machines(FACTS.gpu(gpu).id)
    needed = {
        "card": FACTS.gpu(gpu).min_driver_branch,
        "engine": engine_of(made).version(made.engine.version).min_driver_branch,
    }
    assert needed[decides] == max(needed.values()) > min(needed.values())
    assert made.engine.min_driver_branch == needed[decides]
    assert inventory_of(made)["vars"]["nvidia_driver_branch_min"] == needed[decides]
    assert any(f"NVIDIA driver R{needed[decides]} or newer" in warning for warning in made.warnings)


def test_the_card_of_the_plan_is_the_one_that_the_host_must_have() -> None:
    made = on_plain_machines("L4", replicas=3)
    found = inventory_of(made)["vars"]
    assert found["nvidia_driver_gpu_name"] == "NVIDIA L4"
    assert found["nvidia_driver_gpu_count"] == found["k3s_gpu_count"] == found["preflight_gpu_count"] == 1


@pytest.mark.parametrize("why", NOT_PLACED)
def test_what_the_kit_cannot_place_is_not_written_as_something_else(why: str) -> None:
    changes, sentence = NOT_PLACED[why]
    made = Plan.load(DEPLOYMENTS / "prod-qwen3-8b" / "plan.json")
    changed = made.model_copy(update={"placement": made.placement.model_copy(update=changes)})
    with pytest.raises(Unsupported, match=f"prod-qwen3-8b is answered but not placed: {sentence}"):
        render(changed)


def test_each_host_of_a_pipeline_gives_its_own_gpus_to_the_replica() -> None:
    made = Plan.load(DEPLOYMENTS / "prod-qwen3-8b" / "plan.json")
    shared = {"hosts": 2, "hosts_per_replica": 2, "gpus_per_host": 8, "gpus_per_replica": 16}
    changed = made.model_copy(update={"placement": made.placement.model_copy(update=shared)})
    assert yaml.safe_load(render(changed)["values.yaml"])["gpu"] == {"count": 8, "hosts": 2}


@pytest.mark.parametrize(("replicas", "kind"), [(1, "pvc"), (2, "emptyDir")])
def test_the_claim_of_a_host_is_for_one_replica_alone(replicas: int, kind: str) -> None:
    made = on_plain_machines("L4")
    placed = made.placement.model_copy(update={"replicas": replicas, "gpus_per_host": replicas})
    values = yaml.safe_load(render(made.model_copy(update={"placement": placed}))["values.yaml"])
    assert (values["replicas"], values["cache"]["type"]) == (replicas, kind)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_what_an_earlier_plan_left_is_told_and_removed_by_writing(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / path.parent.name
    shutil.copytree(path.parent, folder)
    files = render(Plan.load(path))
    left = folder / "inventory.yml"
    left.write_text("home_servers: {hosts: {of-an-earlier-plan: }}\n")
    sentence = f"{left} is left of an earlier plan; run: qwenkit write {folder.name}"
    assert (sentence in stale(folder)) == ("inventory.yml" not in files)
    write_all(folder, files)
    assert {file.name for file in folder.iterdir()} == {"request.toml", *files}
    assert stale(folder) == []


def test_a_file_that_cannot_be_written_leaves_every_other_as_it_was(tmp_path: Path) -> None:
    first, *_, last = files = render(Plan.load(COMMITTED[0]))
    (tmp_path / first).write_text("of an earlier plan")
    (tmp_path / last).mkdir()
    with pytest.raises(BadRequest, match=rf"{last} cannot be written: it is a folder; nothing was changed"):
        write_all(tmp_path, files)
    assert (tmp_path / first).read_text() == "of an earlier plan"
    assert {path.name for path in tmp_path.iterdir()} == {first, last}
