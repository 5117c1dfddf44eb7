"""
One booted stand-in host: an address to ssh to, a reboot that works, and nothing left when the block ends.

    with booted(mirror_files={"k3s": path}) as machine:
        machine.run("systemctl is-system-running")

The host lives in a network namespace of its own, joined to this machine by one veth pair without a route beyond it.
Everything it installs comes from ``machine.mirror_url``. Root is needed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.cluster import cgroups
from lab.standins.host.cache import cache_dir
from lab.standins.host.leftovers import sweep
from lab.standins.host.mirror import serving
from lab.standins.host.network import Link, linked
from lab.standins.host.repository import repositories
from lab.standins.host.rootfs import rootfs

REBOOT = 133  # systemd-nspawn's exit status when the system inside asked for a reboot
BOOT_LIMIT_S = 300  # for one that hangs, on a machine however busy
STOP_LIMIT_S = 30
PCI_ENTRY = {"vendor": "0x10de", "device": "0x2684", "class": "0x030000"}  # AD102, GeForce RTX 4090


@dataclass(frozen=True)
class Machine:
    """A booted host. ``key_file`` and ``known_hosts_file`` are made for this boot only."""

    name: str
    address: str
    root: Path
    key_file: Path
    known_hosts_file: Path
    mirror_url: str
    repository_key_fingerprint: str

    def ssh_command(self) -> list[str]:
        """``ssh`` to root on the host, up to and including the destination."""
        return [
            "ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=60", "-o", "IdentitiesOnly=yes",
            "-o", f"UserKnownHostsFile={self.known_hosts_file}", "-i", str(self.key_file), f"root@{self.address}",
        ]  # fmt: skip

    def run(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one shell *command* on the host as root."""
        done = subprocess.run([*self.ssh_command(), command], capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise RuntimeError(f"on {self.name}: {command!r} gave {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def reboot(self) -> None:
        """Reboot and come back when ssh answers from the next boot."""
        before = self.run("cat /proc/sys/kernel/random/boot_id").stdout
        self.run("systemctl reboot", check=False)
        _until(lambda: self._boot_id() not in ("", before), BOOT_LIMIT_S, lambda: f"{self.name} did not come back")

    def _boot_id(self) -> str:
        return self.run("cat /proc/sys/kernel/random/boot_id", check=False).stdout


@contextlib.contextmanager
def booted(
    name: str = "home-server",
    *,
    gpus: int = 1,
    binds: Mapping[Path, str] | None = None,
    mirror_files: Mapping[str, Path] | None = None,
) -> Iterator[Machine]:
    """
    Boot a fresh host called *name* and stop it at the end, also on an exception or Ctrl-C.

    Args:
        gpus: RTX 4090 entries on its PCI bus.
        binds: folders of this machine that the host sees, read-only, and where.
        mirror_files: further files that its mirror serves under their names.
    """
    if os.geteuid():
        raise PermissionError("a stand-in host needs root (systemd-nspawn, a network namespace)")
    sweep()
    tree = rootfs()
    signed = repositories(tree / "debs")
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"run-{os.getpid()}-", dir=cache_dir())))
        link = stack.enter_context(linked())
        root = work / "root"
        subprocess.run(["cp", "-a", "--reflink=auto", str(tree / "root"), str(root)], check=True)
        mirror_url = stack.enter_context(serving(link.outer, signed.folder, mirror_files or {}))
        machine = Machine(
            name, link.inner, root, work / "id_ed25519", work / "known_hosts", mirror_url, signed.fingerprint
        )
        _personalise(machine, work, signed.folder / "key.asc", gpus)
        stack.enter_context(_powered(machine, link, work / "console.log", binds or {}))
        machine.run("apt-get update")  # an installer leaves apt with its lists read
        yield machine


def _personalise(machine: Machine, work: Path, repository_key: Path, gpus: int) -> None:
    """What an installer would have asked: names, keys, package sources; and the entry of the card on the PCI bus."""
    etc = machine.root / "etc"
    (etc / "hostname").write_text(f"{machine.name}\n")
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n{machine.address} {machine.name}\n")
    (etc / "machine-id").write_text("")
    (etc / "apt/sources.list").write_text(f"deb {machine.mirror_url}/debian ./\n")
    shutil.copy(repository_key, etc / "apt/trusted.gpg.d/standin-debian.asc")
    for key in (machine.key_file, etc / "ssh/ssh_host_ed25519_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", machine.name, "-f", str(key)], check=True)
    host_key = (etc / "ssh/ssh_host_ed25519_key.pub").read_text()
    machine.known_hosts_file.write_text(f"{machine.address} {host_key}")
    authorised = machine.root / "root/.ssh/authorized_keys"
    authorised.parent.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(work / "id_ed25519.pub", authorised)
    (etc / "ssh/sshd_config.d/standin.conf").write_text(f"ListenAddress {machine.address}\n")
    (etc / "systemd/system.conf.d").mkdir()
    (etc / "systemd/system.conf.d/standin.conf").write_text("[Manager]\nDefaultTimeoutStopSec=8s\n")  # not 90
    for number in range(gpus):
        device = machine.root / f"opt/standin-pci/0000:0{number + 1}:00.0"
        device.mkdir(parents=True)
        for file, value in PCI_ENTRY.items():
            (device / file).write_text(f"{value}\n")


@contextlib.contextmanager
def _powered(machine: Machine, link: Link, console: Path, binds: Mapping[Path, str]) -> Iterator[None]:
    command = [
        # The host dies with this process even if that one is killed outright.
        "setpriv", "--pdeathsig", "TERM", "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit",
        f"--directory={machine.root}", f"--machine={machine.name}", f"--network-namespace-path={link.namespace}",
        "--capability=all", "--system-call-filter=add_key keyctl bpf perf_event_open",
        "--bind-ro=+/opt/standin-pci:/sys/bus/pci/devices",
        *(f"--bind-ro={source}:{target}" for source, target in binds.items()),
    ]  # fmt: skip
    environment = {**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1"}
    power = _Power(command, environment, console)
    power.start()
    try:
        _until(
            lambda: machine.run("true", check=False).returncode == 0 or not power.is_alive(),
            BOOT_LIMIT_S,
            lambda: f"{machine.name} did not answer ssh; the end of its console:\n{console.read_text()[-2000:]}\n...",
        )
        if not power.is_alive():
            raise RuntimeError(f"{machine.name} stopped while booting:\n{console.read_text()[-2000:]}")
        yield
    finally:
        power.off()
        for state in (machine.root / "var/tmp").glob("qwenkit-cluster-*/state.json"):
            cgroups.remove(json.loads(state.read_text())["group"])  # left if the host did not stop in time


class _Power(threading.Thread):
    """Keeps the host running over its reboots; the thread that starts systemd-nspawn must outlive it (pdeathsig)."""

    def __init__(self, command: list[str], environment: dict[str, str], console: Path) -> None:
        super().__init__(name="stand-in host", daemon=True)
        self._command, self._environment, self._console = command, environment, console
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        with self._console.open("ab") as console:
            while not self._stopping.is_set():
                self._process = subprocess.Popen(
                    self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=console,
                    stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
                if self._process.wait() != REBOOT:
                    return

    def off(self) -> None:
        self._stopping.set()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process and self._process.poll() is None:
                self._process.send_signal(number)
            self.join(STOP_LIMIT_S)


def _until(condition: Callable[[], bool], limit_s: float, complaint: Callable[[], str]) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{complaint()} within {limit_s:.0f} s")
        time.sleep(0.2)
