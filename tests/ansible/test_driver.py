"""Driver and container toolkit on a booted host: DKMS, apt, systemd and reboot are real, NVIDIA's packages are not."""

from __future__ import annotations

import re

import pytest

from tests.ansible.conftest import BEFORE_K3S, Server
from tests.ansible.play import play

pytestmark = pytest.mark.host


def test_the_play_reboots_once_into_the_driver_it_installed(driven: Server) -> None:
    _, reboot = driven.first.message.split("TASK [nvidia_driver : Reboot into the installed driver] ")
    assert re.match(r"\*+ changed: \[driven\]", reboot)
    assert driven.machine.run("journalctl --list-boots --quiet | wc -l").stdout.strip() == "2"


def test_a_second_run_changes_nothing(driven: Server) -> None:
    assert play(driven.inventory, "--tags", BEFORE_K3S).succeeded().changed == 0


def test_a_dry_run_after_the_first_is_clean(driven: Server) -> None:
    assert play(driven.inventory, "--check", "--tags", BEFORE_K3S).succeeded().changed == 0


def test_the_pinned_branch_is_installed_though_the_repository_has_a_newer_one_and_is_held(driven: Server) -> None:
    policy = driven.machine.run("apt-cache policy nvidia-driver-cuda nvidia-container-toolkit").stdout
    assert "Installed: 580.159.03-1" in policy
    assert "Candidate: 580.159.03-1" in policy
    assert "595.71.05-1 500" in policy
    assert "580.200.00-1 100" in policy  # the distribution's own package of the same branch
    assert "Installed: 1.19.1-1" in policy
    held = driven.machine.run("apt-mark showhold").stdout.split()
    assert {"nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-container-toolkit"} <= set(held)
    # Neither a plain upgrade nor a bold one moves a driver out from under its containers.
    for upgrade in ("upgrade", "dist-upgrade"):
        assert "nvidia" not in driven.machine.run(f"apt-get --simulate {upgrade} | grep ^Inst || true").stdout


def test_every_kernel_in_boot_has_a_module_that_dkms_built(driven: Server) -> None:
    kernels = driven.machine.run("ls /boot | sed -n 's/^vmlinuz-//p'").stdout.split()
    assert kernels
    for kernel in kernels:
        built = driven.machine.run(f"modinfo -k {kernel} -F version nvidia; dkms status -k {kernel}").stdout
        assert built.splitlines()[0] == "580.159.03"
        assert f"nvidia/580.159.03, {kernel}, x86_64: installed" in built


def test_the_planned_power_limit_is_set_again_at_every_boot(driven: Server) -> None:
    driven.machine.reboot()
    driven.machine.run("systemctl is-active --quiet qwenkit-gpu-power-limit nvidia-persistenced")
    assert driven.machine.run("nvidia-smi --query-gpu=power.limit,persistence_mode").stdout.strip() == "350.00, Enabled"


def test_a_plan_without_a_power_limit_takes_the_earlier_ones_service_away(driven: Server) -> None:
    play(driven.inventory, "--tags", "nvidia_driver", variables={"nvidia_driver_power_limit_w": 0}).succeeded()
    assert driven.machine.run("systemctl is-enabled qwenkit-gpu-power-limit", check=False).returncode
    assert driven.machine.run("find /etc/systemd -name 'qwenkit-gpu-power-limit*'").stdout == ""
    assert play(driven.inventory, "--tags", "nvidia_driver").succeeded().changed == 2  # its unit, its start
    driven.machine.run("systemctl is-enabled qwenkit-gpu-power-limit")


def test_a_card_of_another_name_is_refused_though_the_names_are_alike(driven: Server) -> None:
    alike = {"nvidia_driver_gpu_name": "RTX 4090"}
    refused = play(driven.inventory, "--check", "--tags", "nvidia_driver", variables=alike)
    assert refused.returncode == 2
    assert "the plan is for 1 x RTX 4090 on branch 580; the host says NVIDIA GeForce RTX 4090, 580.159.03" in (
        refused.message
    )


def test_a_dry_run_while_a_reboot_is_due_says_that_it_would_reboot(driven: Server) -> None:
    loaded = "/run/standin-nvidia/loaded"
    driven.machine.run(f"mv {loaded} {loaded}.not")
    try:
        dry = play(driven.inventory, "--check", "--tags", "nvidia_driver").succeeded()
        assert dry.changed == 1
        assert re.search(r"Reboot into the installed driver\] \*+ changed: \[driven\]", dry.message)
    finally:
        driven.machine.run(f"mv {loaded}.not {loaded}")


def test_another_pinned_version_moves_the_held_packages_up_and_down(driven: Server) -> None:
    versions = "dpkg-query --show --showformat '${db:Status-Abbrev}${Version}\n' '*nvidia-container*' | sort --unique"
    newer = {"container_toolkit_version": "1.20.0-1"}
    play(driven.inventory, "--tags", "container_toolkit", variables=newer).succeeded()
    assert driven.machine.run(versions).stdout == "hi 1.20.0-1\n"
    play(driven.inventory, "--tags", "container_toolkit").succeeded()
    assert driven.machine.run(versions).stdout == "hi 1.19.1-1\n"


def test_nouveau_is_kept_away_in_the_running_system_and_in_every_initramfs(driven: Server) -> None:
    assert "blacklist nouveau" in driven.machine.run("cat /etc/modprobe.d/qwenkit-nouveau.conf").stdout
    listing = driven.machine.run("for i in /boot/initrd.img-*; do lsinitramfs $i | grep -c qwenkit-nouveau.conf; done")
    assert set(listing.stdout.split()) == {"1"}


def test_a_kernel_that_may_boot_next_without_a_module_stops_the_play_before_any_reboot(driven: Server) -> None:
    machine = driven.machine
    kernel = machine.run("ls /boot | sed -n 's/^vmlinuz-//p'").stdout.split()[0]
    # As after an upgrade whose build failed: the module is gone and the source no longer compiles.
    machine.run(f"dkms unbuild nvidia/580.159.03 -k {kernel} && cp -a /usr/src/nvidia-580.159.03/nvidia.c /root/")
    machine.run("echo '#error does not compile with this kernel' >> /usr/src/nvidia-580.159.03/nvidia.c")
    boot = machine.run("cat /proc/sys/kernel/random/boot_id").stdout
    try:
        stopped = play(driven.inventory, "--tags", "nvidia_driver")
        assert (stopped.returncode, stopped.failed) == (2, 1)
        complaint = f"Kernel {kernel} may boot next and has no nvidia module of branch 580; the host was not rebooted"
        assert complaint in stopped.message
        assert machine.run("cat /proc/sys/kernel/random/boot_id").stdout == boot
    finally:
        machine.run("mv /root/nvidia.c /usr/src/nvidia-580.159.03/nvidia.c")
    other_limit = {"nvidia_driver_power_limit_w": 300}
    mended = play(driven.inventory, "--tags", "nvidia_driver", variables=other_limit).succeeded()
    assert mended.changed == 3  # the module is built again; the unit of the power limit is another, and restarted
    assert machine.run("nvidia-smi --query-gpu=power.limit").stdout.strip() == "300.00"


def test_a_repository_with_another_key_is_not_believed(driven: Server) -> None:
    wrong = {"nvidia_driver_key_fingerprint": "0" * 40}
    refused = play(driven.inventory, "--tags", "nvidia_driver", variables=wrong)
    assert refused.returncode == 2
    assert f"is not the one key with fingerprint {'0' * 40}" in refused.message


def test_a_file_that_is_not_the_key_replaces_no_trusted_one(driven: Server) -> None:
    trusted = "sha256sum /etc/apt/keyrings/nvidia-cuda.asc"
    before = driven.machine.run(trusted).stdout
    no_key = {"nvidia_driver_key_url": f"{driven.machine.mirror_url}/cuda/Packages"}
    refused = play(driven.inventory, "--tags", "nvidia_driver", variables=no_key)
    assert refused.returncode == 2
    assert "is not the one key with fingerprint" in refused.message
    assert driven.machine.run(trusted).stdout == before
    again = play(driven.inventory, "--tags", "nvidia_driver").succeeded()
    assert again.changed == 3  # the candidate, fetched again; the power limit, as it was
