"""Stand-in hosts for the `host` lane: one that stays as installed, and one that the playbook made a server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from lab.standins.host.cluster_parts import parts
from lab.standins.host.machine import Machine, booted
from lab.tools import get
from tests.ansible.play import Recap, play, write_inventory

VALUES = Path(__file__).resolve().parents[2] / "deployments/laptop/values.yaml"
MANIFESTS = "var/lib/rancher/k3s/server/manifests"
BEFORE_K3S = "preflight,nvidia_driver,container_toolkit"


@dataclass(frozen=True)
class Host:
    machine: Machine
    inventory: Path


@dataclass(frozen=True)
class Server(Host):
    """A host after the playbook, and what its first run reported."""

    first: Recap


def _served_name(values: Path) -> str:
    arguments = yaml.safe_load(values.read_text())["args"]
    return str(arguments[arguments.index("--served-model-name") + 1])


@pytest.fixture(scope="package")
def virgin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host as installed; no test may change it."""
    with booted("virgin", mirror_files={"k3s": Path(__file__)}) as machine:
        variables = {
            "serve_model": _served_name(VALUES),
            "serve_values_file": str(VALUES),
            "k3s_url": f"{machine.mirror_url}/k3s",
            "k3s_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        }
        yield Host(machine, write_inventory(machine, tmp_path_factory.mktemp("virgin"), variables))


@pytest.fixture(scope="package")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A host with driver and container toolkit, by the playbook's own tags."""
    with booted("driven") as machine:
        variables = {"serve_model": _served_name(VALUES), "serve_values_file": str(VALUES)}
        inventory = write_inventory(machine, tmp_path_factory.mktemp("driven"), variables)
        first = play(inventory, "--tags", BEFORE_K3S).succeeded()
        yield Server(machine, inventory, first)


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A host after the whole playbook: the chart serves a tiny model on the CPU, with the values of `laptop`."""
    needed = parts(lambda name: Path(get.tool(name)), namespace="qwen")
    with booted("home-server", binds=needed.binds, mirror_files=needed.mirror_files) as machine:
        manifests = machine.root / MANIFESTS
        manifests.mkdir(parents=True)
        (manifests / "model.yaml").write_text(needed.model_claim)
        variables = {
            "k3s_url": f"{machine.mirror_url}/k3s",
            "k3s_sha256": needed.sha256["k3s"],
            "k3s_gpu_count": 1,
            "serve_helm_url": f"{machine.mirror_url}/helm.tar.gz",
            "serve_helm_sha256": needed.sha256["helm.tar.gz"],
            "serve_values_file": str(VALUES),
            "serve_model": _served_name(VALUES),
            "serve_ready_limit_s": 400,
        }
        inventory = write_inventory(machine, tmp_path_factory.mktemp("server"), variables)
        first = play(inventory, "-vv").succeeded()
        yield Server(machine, inventory, first)
