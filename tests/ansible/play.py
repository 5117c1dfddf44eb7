"""Run the playbook against a stand-in host and read what it reports."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.standins.host.machine import Machine
from tests.docs.pages import documented

PLAY = documented("cd ansible && ")
ANSIBLE = Path(__file__).resolve().parents[2] / "ansible"
RECAP = re.compile(r"^(?P<host>\S+) +: ok=(\d+) +changed=(\d+) +unreachable=(\d+) +failed=(\d+) ", re.MULTILINE)


@dataclass(frozen=True)
class Recap:
    """What a run of the playbook reported, and how long it took."""

    returncode: int
    ok: int
    changed: int
    unreachable: int
    failed: int
    output: str
    seconds: float

    @property
    def message(self) -> str:
        """The output in one line of single spaces: what it says, however it was wrapped."""
        return " ".join(self.output.split())

    def succeeded(self) -> Recap:
        assert self.returncode == 0, self.output[-6000:]
        return self


def play(inventory: Path, *arguments: str, variables: Mapping[str, object] | None = None) -> Recap:
    """The playbook as printed, of this environment, with *inventory*; *variables* go over the inventory's."""
    program, *printed = shlex.split(PLAY.removeprefix("cd ansible && "))
    command = [str(Path(sys.executable).with_name(program)), *printed, "-i", str(inventory)]
    extra = ["-e", json.dumps(dict(variables))] if variables else []
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(inventory.parent / "cp")}
    environment["ANSIBLE_TIMEOUT"] = "120"  # to connect; the default of 10 s is for a machine that is not busy
    started = time.monotonic()
    done = subprocess.run(
        [*command, *arguments, *extra], cwd=ANSIBLE, env=environment, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    recap = RECAP.search(done.stdout)
    ok, changed, unreachable, failed = map(int, recap.groups()[1:]) if recap else (0, 0, 0, 0)
    return Recap(done.returncode, ok, changed, unreachable, failed, output, time.monotonic() - started)


def write_inventory(machine: Machine, folder: Path, variables: Mapping[str, object]) -> Path:
    """
    The inventory of one RTX 4090 host, as templates/inventory.yml.j2 renders it, pointing at *machine* and its mirror.

    *variables* are those that differ from one test host to the next.
    """
    mirror, fingerprint = machine.mirror_url, machine.repository_key_fingerprint
    shared = {
        "ansible_host": machine.address,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(machine.key_file),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={machine.known_hosts_file} -o IdentitiesOnly=yes",
        "preflight_ram_min_gib": 6.0,
        "preflight_cpu_min": 2,
        "preflight_disk_free_min_gib": 8,
        "preflight_gpu_count": 1,
        "nvidia_driver_branch_min": 580,
        "nvidia_driver_gpu_name": "NVIDIA GeForce RTX 4090",
        "nvidia_driver_power_limit_w": 350,
        "nvidia_driver_repository_url": f"{mirror}/cuda",
        "nvidia_driver_key_url": f"{mirror}/key.asc",
        "nvidia_driver_key_fingerprint": fingerprint,
        "container_toolkit_repository_url": f"{mirror}/libnvidia-container",
        "container_toolkit_key_url": f"{mirror}/key.asc",
        "container_toolkit_key_fingerprint": fingerprint,
    }
    path = folder / "inventory.yml"
    hosts = {"home_servers": {"hosts": {machine.name: {}}, "vars": {**shared, **variables}}}
    path.write_text(json.dumps(hosts, indent=2))  # JSON is YAML
    return path
