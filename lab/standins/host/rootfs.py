"""
The file tree a stand-in host boots from: Debian 12 as a server's installer leaves it, nothing of the kit on it.

Two parts come out of one ``mmdebstrap`` run, so that the host needs no network beyond its own mirror: the tree, and the
Debian packages that the playbook will ask for (kernel headers, DKMS, compiler), downloaded but not installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from lab.standins.host.cache import cache_dir, digest, kept

SUITE = "bookworm"  # from mmdebstrap's own mirror for it
FREE_GIB_NEEDED = 4

# What Debian's installer and its ssh-server task leave, as far as a playbook can tell.
SERVER = (
    "systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "python3-apt", "sudo", "ca-certificates", "curl",
    "iproute2", "kmod", "procps", "initramfs-tools", "linux-image-cloud-amd64",
)  # fmt: skip
# k3s carries these inside its one binary; the stand-in k3s takes Debian's.
FOR_STANDIN_K3S = ("runc", "containernetworking-plugins", "iptables", "conntrack")
# Installed by the playbook, from the mirror.
FOR_PLAYBOOK = ("dkms", "gnupg", "linux-headers-cloud-amd64")
# Interrupted at any point, the build takes its mounts and its processes with it.
NOTHING_STAYS = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation=private")


def rootfs() -> Path:
    """Folder with ``root/`` (the bootable tree) and ``debs/`` (packages for the mirror); about 45 s when not kept."""
    return kept("rootfs", digest(*_command(Path("rootfs"))), _build)


def _build(folder: Path) -> None:
    free_gib = shutil.disk_usage(cache_dir()).free / 2**30
    if free_gib < FREE_GIB_NEEDED:
        needed = f"the host's file tree needs {FREE_GIB_NEEDED} GiB free"
        raise RuntimeError(f"{needed} in {cache_dir()}, {free_gib:.1f} are")
    print("building the stand-in host's file tree with mmdebstrap (about a minute, once) ...", file=sys.stderr)
    (folder / "debs").mkdir()
    done = subprocess.run([*NOTHING_STAYS, *_command(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"mmdebstrap failed ({done.returncode}):\n{done.stderr[-2000:]}")


def _command(folder: Path) -> list[str]:
    apt_get = 'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get --yes'
    return [
        "mmdebstrap", "--variant=minbase", "--mode=root", f"--include={','.join(SERVER + FOR_STANDIN_K3S)}",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--skip=cleanup/apt/cache",
        f"--customize-hook={apt_get} clean && {apt_get} --download-only install {' '.join(FOR_PLAYBOOK)}",
        f'--customize-hook=mv "$1"/var/cache/apt/archives/*.deb {folder}/debs/',
        # Its own keys and id come with each boot.
        '--customize-hook=rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/machine-id "$1"/etc/apt/sources.list',
        SUITE, f"{folder}/root",
    ]  # fmt: skip
