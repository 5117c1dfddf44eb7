"""What the preflight says of a host, from the figures of the host alone: one play on no host, for all cases."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ansible.play import ANSIBLE

# The host of the committed plan for a home server, with room to spare, and what its plan asks.
HOST = {"memtotal_mb": 64 * 1024, "processor_vcpus": 28, "disk_free_kib": 900 * 1024**2, "gpus": 1, "placed": False}
PLAN = {
    "preflight_ram_min_gib": 60.2,
    "preflight_cpu_min": 5,
    "preflight_disk_free_min_gib": 85,
    "preflight_gpu_count": 1,
}
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a host with room to spare": ({}, []),
    "exactly enough": (
        {"memtotal_mb": 61645, "processor_vcpus": 5, "disk_free_kib": 85 * 1024**2, "gpus": 1},
        [],
    ),
    "more digits than the plan has": (
        {"memtotal_mb": 100 * 1024, "processor_vcpus": 10, "disk_free_kib": 100 * 1024**2, "gpus": 10},
        [],
    ),
    "fewer digits than the plan has": (
        {"memtotal_mb": 9 * 1024, "processor_vcpus": 4, "disk_free_kib": 9 * 1024**2, "gpus": 0},
        [*PLAN],
    ),
    "a disk that the plan itself has filled": ({"disk_free_kib": 1024**2, "placed": True}, []),
    "another distribution": ({"distribution": "Fedora"}, ["preflight_releases"]),
    "an Ubuntu between the known ones": (
        {"distribution": "Ubuntu", "distribution_version": "24.10"},
        ["preflight_releases"],
    ),
    "another processor": ({"architecture": "aarch64"}, ["preflight_architectures"]),
}
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.include_vars: {file: "{{ role }}/defaults/main.yml"}
    - ansible.builtin.include_vars: {file: "{{ role }}/vars/main.yml"}
    - ansible.builtin.set_fact: {said: []}
    - ansible.builtin.include_tasks: case.yml
      loop: "{{ cases }}"
      loop_control: {loop_var: case}
    - ansible.builtin.copy: {content: "{{ said | to_json }}", dest: "{{ answer }}", mode: "0600"}
"""
CASE = """
- ansible.builtin.set_fact:
    cacheable: true
    distribution: "{{ case.distribution }}"
    distribution_version: "{{ case.distribution_version }}"
    distribution_major_version: "{{ case.distribution_version.split('.')[0] }}"
    architecture: "{{ case.architecture }}"
    memtotal_mb: "{{ case.memtotal_mb }}"
    processor_vcpus: "{{ case.processor_vcpus }}"
- ansible.builtin.set_fact:
    preflight_disk: {stdout_lines: [Avail, "{{ case.disk_free_kib }}"]}
    preflight_placed: {stat: {exists: "{{ case.placed }}"}}
    preflight_gpus: {stdout_lines: "{{ ['0000:01:00.0 0x2684'] * case.gpus }}"}
- ansible.builtin.set_fact:
    said: "{{ said + [preflight_checks | rejectattr('ok') | map(attribute='message')] }}"
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The variable that each problem starts with, by case."""
    folder = tmp_path_factory.mktemp("checks")
    (folder / "play.yml").write_text(PLAY)
    (folder / "case.yml").write_text(CASE)
    debian = {"distribution": "Debian", "distribution_version": "12.9", "architecture": "x86_64"}
    variables = {
        **PLAN,
        "ansible_python_interpreter": sys.executable,
        "role": str(ANSIBLE / "roles/preflight"),
        "cases": [debian | HOST | changes for changes, _ in CASES.values()],
        "answer": str(folder / "said.json"),
    }
    playbook = Path(sys.executable).with_name("ansible-playbook")
    arguments = ["play.yml", "-i", "localhost,", "-e", json.dumps(variables)]
    done = subprocess.run([playbook, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    answers = json.loads((folder / "said.json").read_text())
    return {name: [problem.split(":")[0] for problem in answer] for name, answer in zip(CASES, answers, strict=True)}


@pytest.mark.parametrize("case", CASES)
def test_the_preflight_names_what_the_host_lacks_and_nothing_else(said: dict[str, list[str]], case: str) -> None:
    assert said[case] == CASES[case][1]


def test_k3s_keeps_its_secrets_encrypted_and_its_kubeconfig_to_root() -> None:
    template = (ANSIBLE / "roles/k3s/templates/config.yaml.j2").read_text()
    said = yaml.safe_load("\n".join(line for line in template.splitlines() if "{{" not in line))
    assert said == {"write-kubeconfig-mode": "0600", "secrets-encryption": True}
