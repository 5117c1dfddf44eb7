"""
What the program declares, in seconds and without the engine: ``infra/__main__.py`` under Pulumi's own mocks.

Every resource goes through the stand-in's provider, as it does on the way from the engine, and is in its cloud then.
Mocks and configuration are the whole process's, so all of it happens in one of its own.
"""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pulumi
import yaml
from pulumi.runtime import set_all_config, set_mocks
from pulumi.runtime.proto import provider_pb2

from lab.standins.aws import rules
from lab.standins.aws.cloud import Cloud, Resource
from lab.standins.aws.provider import StandIn

ROOT = Path(__file__).parents[2]
STACK = "prod-qwen3-8b"


class Case(NamedTuple):
    """What differs from the committed stack: keys of its configuration, and the plan's placement."""

    config: Mapping[str, Any] = {}
    placement: Mapping[str, Any] = {}


CASES = {
    "eks": Case(),
    "eks with a reachable API": Case(config={"apiCidrs": ["192.0.2.0/24", "198.51.100.7/32"]}),
    "ec2": Case(placement={"kind": "aws-ec2", "hosts": 3}),
}


Declared = dict[str, list[Resource]]


def declare(folder: Path) -> Declared:
    """The resources of each case; works in *folder*."""
    command = [sys.executable, "-m", "tests.infra.declared", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: Cloud(folder / name / "cloud.json").resources() for name in CASES}


class Provider(pulumi.runtime.Mocks):
    """Answers the program as the stand-in's provider answers the engine."""

    def __init__(self, cloud: Cloud) -> None:
        self.aws = StandIn(cloud)

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        return {**args.args, **rules.LOOKUPS[args.token]}, []  # no failures

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        if not args.typ.startswith("aws:"):
            return args.name, args.inputs
        naming = provider_pb2.CheckRequest.AutonamingOptions(proposed_name=f"{STACK}-{args.name}")
        asked = provider_pb2.CheckRequest(type=args.typ, autonaming=naming)
        asked.news.update(args.inputs)
        checked = self.aws.Check(asked, None)
        assert not checked.failures, f"{args.typ} {args.name}: {checked.failures}"
        wanted = provider_pb2.CreateRequest(type=args.typ, name=args.name, properties=checked.inputs)
        made = self.aws.Create(wanted, None)
        return made.id, dict(made.properties)


def run(folder: Path, case: Case) -> None:
    """The program as it lies in *folder*, beside the plan; the modules it imports are those of the checkout."""
    (folder / "infra").mkdir(parents=True)
    program = Path(shutil.copy(ROOT / "infra" / "__main__.py", folder / "infra"))
    plan = json.loads((ROOT / "deployments" / STACK / "plan.json").read_text(encoding="utf-8"))
    assert case.placement.keys() <= plan["placement"].keys()
    plan["placement"] |= case.placement
    deployment = folder / "deployments" / STACK  # without its request: nobody asks here whether the plan is fresh
    deployment.mkdir(parents=True)
    (deployment / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    set_all_config(configuration(case.config))
    set_mocks(Provider(Cloud(folder / "cloud.json")), project="qwen", stack=STACK)
    pulumi.runtime.test(lambda: runpy.run_path(str(program)) and None)()  # type: ignore[no-untyped-call]


def configuration(changes: Mapping[str, Any]) -> dict[str, str]:
    """What the engine would give the program: the defaults of Pulumi.yaml, then the stack's own, then *changes*."""
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text(encoding="utf-8"))["config"]
    stack = yaml.safe_load((ROOT / f"Pulumi.{STACK}.yaml").read_text(encoding="utf-8"))["config"]
    values = {f"qwen:{key}": of["default"] for key, of in project.items() if "default" in of}
    values |= stack | {f"qwen:{key}": value for key, value in changes.items()}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


if __name__ == "__main__":
    for name, case in CASES.items():
        run(Path(sys.argv[1]) / name, case)
