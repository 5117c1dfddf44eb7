"""Stand-in hosts for the `host` lane: one that stays as installed, and one that the playbook made a server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from standins.host.machine import Machine, booted
from tests.ansible.play import Recap, play, write_inventory

BEFORE_K3S = "preflight,nvidia_driver,container_toolkit"


@dataclass(frozen=True)
class Host:
    machine: Machine
    inventory: Path


@dataclass(frozen=True)
class Server(Host):
    """A host after the playbook, and what its first run reported."""

    first: Recap


@pytest.fixture(scope="session")
def virgin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host as installed; no test may change it."""
    with booted("virgin") as machine:
        variables = {"serve_model": "qwen3-0.6b", "serve_values_file": str(Path(__file__))}
        yield Host(machine, write_inventory(machine, tmp_path_factory.mktemp("virgin"), variables))


@pytest.fixture(scope="session")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A host with driver and container toolkit, by the playbook's own tags."""
    with booted("driven") as machine:
        variables = {"serve_model": "qwen3-0.6b", "serve_values_file": str(Path(__file__))}
        inventory = write_inventory(machine, tmp_path_factory.mktemp("driven"), variables)
        first = play(inventory, "--tags", BEFORE_K3S).succeeded()
        yield Server(machine, inventory, first)
