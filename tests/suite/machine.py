"""What the suite has on this machine: the right to use it alone, and what a lane or a run leaves behind."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from local import cgroups, processes
from local.cluster import take_down
from local.place import places
from standins.host import leftovers
from standins.host.cache import cache_dir

TEMPORARY = "qk-"  # and the process id; short, for sockets lie below
CLAIM = "\0qwenkit-suite"
ASK_EVERY_S = 1.0
TELL_EVERY_S = 60.0
WHY = "two runs at once would spoil each other's figures"


def claim(tell: Callable[[str], None]) -> socket.socket:
    """
    The right to use this machine's cores, cluster numbers and ports for a run; waits for the run that has it.

    The kernel takes it back with the last process that holds the socket, however that ended.
    """
    told = -TELL_EVERY_S
    while True:
        held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            held.bind(CLAIM)
            held.listen()
        except OSError:
            held.close()
        else:
            return held
        if time.monotonic() - told >= TELL_EVERY_S and (holder := _holder()):
            told = time.monotonic()
            tell(f"waiting: {holder} runs its lanes; {WHY}")
        time.sleep(ASK_EVERY_S)


def _holder() -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(CLAIM)
            pid, _, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return f"process {pid} in {Path(f'/proc/{pid}/cwd').readlink()}"
        except OSError:  # it has just ended
            return ""


def traces() -> set[str]:
    """Interfaces, namespaces, control groups, mounts and folders of clusters and hosts that are here now."""
    found = {f"interface {link.name}" for link in Path("/sys/class/net").iterdir() if link.name.startswith(OUR_LINKS)}
    found |= {f"network namespace {path.name}" for path in leftovers.NAMESPACES.glob("qwenkit-*")}
    found |= {f"control group {group}" for root in cgroups.hierarchies() for group in root.glob("qwenkit-*")}
    found |= {f"folder {place.folder}" for place in places() if place.folder.exists()}
    found |= {f"folder {folder}" for folder in cache_dir().glob("run-*")}
    mounts = (line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines())
    return found | {f"mount {target}" for target in mounts if "qwenkit" in target}


OUR_LINKS = ("qwenkit", "qkh")


def still_running(marker: str) -> list[str]:
    """Processes that carry *marker* in their environment."""
    said = []
    for pid in processes.pids(marker):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if pid != os.getpid():
            said.append(f"process {pid}: {command[:120]}")
    return said


def clear(marker: str, before: set[str]) -> None:
    """End what carries *marker*, then remove clusters and hosts without an owner that were not there *before*."""
    processes.end(marker)
    for place in places():
        if f"folder {place.folder}" not in before and place.has_folder() and not place.is_claimed():
            take_down(place)
    leftovers.sweep()


def sweep_temporary() -> None:
    """Remove the temporary folders of runs that were killed outright."""
    for folder in Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*"):
        if not Path(f"/proc/{folder.name.split('-')[1]}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def left_in(folder: Path) -> list[str]:
    """What a lane left in its folder for temporary files beside pytest's own; the folder is gone afterwards."""
    left = [f"file {path.name}" for path in folder.iterdir() if not path.name.startswith("pytest-of-")]
    shutil.rmtree(folder)
    return left
