"""A host that cannot become the planned server is told so, all at once, and left as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ansible.conftest import Host
from tests.ansible.play import play

pytestmark = pytest.mark.host

# What a running host writes by itself, and what an ssh session and Ansible's own modules leave.
OF_ITS_OWN = ("var/log", "root/.ansible", "run", "tmp", "var/tmp", "var/lib/systemd", "proc", "sys", "dev")


def _files(root: Path) -> Iterator[tuple[str, int, int]]:
    for folder, names, files in os.walk(root):
        inside = os.path.relpath(folder, root)
        names[:] = [name for name in names if os.path.normpath(f"{inside}/{name}") not in OF_ITS_OWN]
        for file in files:
            path = Path(folder, file)
            if not path.is_symlink():
                stat = path.stat()
                yield str(path.relative_to(root)), stat.st_size, stat.st_mtime_ns


def test_a_host_with_too_little_is_refused_with_every_problem_at_once_and_unchanged(virgin: Host) -> None:
    before = set(_files(virgin.machine.root))
    short = {
        "preflight_ram_min_gib": 4096,
        "preflight_cpu_min": 4096,
        "preflight_disk_free_min_gib": 100000,
        "preflight_gpu_count": 2,
        "nvidia_driver_branch_min": 595,
        "preflight_releases": ["Ubuntu 24.04"],
        "serve_values_file": "/nowhere/home-server/values.yaml",
    }
    refused = play(virgin.inventory, variables=short)
    assert (refused.returncode, refused.changed, refused.failed) == (2, 0, 1)
    for problem in (
        "preflight_ram_min_gib: the plan needs 4096 GiB of memory, the host has ",
        "preflight_cpu_min: the plan needs 4096 CPU threads, the host has ",
        "preflight_disk_free_min_gib: the plan needs 100000 GiB free in /var/lib, ",
        "preflight_gpu_count: the plan uses 2 NVIDIA GPU(s), 1 are on the PCI bus",
        "nvidia_driver_branch: branch 580 is asked for, the planned image or GPU needs 595 or newer",
        "preflight_releases: the host runs Debian 12; the kit knows Ubuntu 24.04",
        "serve_values_file: /nowhere/home-server/values.yaml does not exist. Write it from the request: "
        "qwenkit write home-server.",
    ):
        assert problem in refused.message
    assert set(_files(virgin.machine.root)) == before


def test_a_kernel_without_headers_is_refused_before_anything_is_installed(virgin: Host) -> None:
    stray = virgin.machine.root / "boot/vmlinuz-9.9.9-stray"
    stray.touch()
    try:
        before = set(_files(virgin.machine.root))
        refused = play(virgin.inventory)
        assert (refused.returncode, refused.changed) == (2, 0)
        assert "apt knows no linux-headers-9.9.9-stray, and without headers there is no module" in refused.message
        assert set(_files(virgin.machine.root)) == before
    finally:
        stray.unlink()


def test_a_dry_run_on_a_new_host_succeeds_and_changes_nothing(virgin: Host) -> None:
    before = set(_files(virgin.machine.root))
    dry = play(virgin.inventory, "--check").succeeded()
    assert dry.failed == 0
    assert dry.changed > 0
    assert set(_files(virgin.machine.root)) == before
