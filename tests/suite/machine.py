"""What the suite has on this machine: the right to use it alone, and what a lane or a run leaves behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lab.cluster import cgroups, claims, processes
from lab.cluster.cluster import take_down
from lab.cluster.place import places
from lab.standins.host import leftovers
from lab.standins.host.cache import cache_dir

CLAIM = "qwenkit-suite"
ASK_EVERY_S = 1.0
TELL_EVERY_S = 60.0
WHY = "two runs at once would spoil each other's figures"
TEMPORARY = re.compile(r"qk-(\d+)-\w+")  # short, for sockets lie below
OUR_LINKS = ("qwenkit", "qkh")
SEGMENTS = Path("/dev/shm")
ENGINES_SEGMENTS = ("psm_*", "sem.mp-*", "sglang_*")  # Python's multiprocessing, and SGLang
SHARED = "shared memory "
GRACE_S = 5  # for children that are just ending with the lane


def claim(tell: Callable[[str], None]) -> socket.socket:
    """The right to use this machine's cores, cluster numbers and ports for a run; waits for the run that has it."""
    told = -TELL_EVERY_S
    while not (held := claims.claim(CLAIM)):
        if time.monotonic() - told >= TELL_EVERY_S:
            told = time.monotonic()
            tell(f"waiting: {_holder()} runs its lanes; {WHY}")
        time.sleep(ASK_EVERY_S)
    held.listen()  # so that others learn who holds it
    return held


def _holder() -> str:
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.connect(f"\0{CLAIM}")
        pid, _, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return f"process {pid} in {Path(f'/proc/{pid}/cwd').readlink()}"
    return "another process"


# Processes of a lane -------------------------------------------------------------------------------------------------


def still_running(marker: str, session: int) -> list[str]:
    """What a lane that has ended left running: by the entry *marker* of its environment, or by its session."""
    deadline = time.monotonic() + GRACE_S
    while (left := _processes(marker, session)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [f"process {pid}: {command}" for pid, command in left.items()]


def end_processes(marker: str, session: int) -> None:
    """End what `still_running` tells of; clusters end in order."""
    processes.end(marker)
    for pid in _processes(marker, session):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _processes(marker: str, session: int) -> dict[int, str]:
    found = {}
    # Whoever renames itself has no environment to be read; its session it keeps.
    for pid in {*processes.pids(marker), *_in_session(session)}:
        with suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if command:  # else it has ended, and nobody has buried it
                found[pid] = command[:120]
    return found


def _in_session(session: int) -> set[int]:
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            after_the_name = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(after_the_name[3]) == session:
                found.add(int(entry.name))
    return found


# Clusters and hosts --------------------------------------------------------------------------------------------------


def traces() -> set[str]:
    """Interfaces, namespaces, control groups, mounts and folders of clusters and hosts, and engines' shared memory."""
    found = {f"interface {name}" for _, name in socket.if_nameindex() if name.startswith(OUR_LINKS)}
    found |= {f"network namespace {path.name}" for path in leftovers.NAMESPACES.glob("qwenkit-*")}
    found |= {f"control group {group.name}" for root in cgroups.hierarchies() for group in root.glob("qwenkit-*")}
    found |= {f"folder {place.folder}" for place in places() if place.folder.exists()}
    found |= {f"folder {folder}" for folder in cache_dir().glob("run-*")}
    found |= {f"{SHARED}{name}" for name in _orphaned_segments()}
    mounts = (line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines())
    return found | {f"mount {target}" for target in mounts if "qwenkit" in target}


def _orphaned_segments() -> set[str]:
    """Shared memory such as engines make that no process has any more."""
    here = {path.name for kind in ENGINES_SEGMENTS for path in SEGMENTS.glob(kind)}
    for maps in Path("/proc").glob("[0-9]*/maps") if here else ():
        with suppress(OSError):  # just ending
            text = maps.read_text(errors="replace")
            here -= {name for name in here if f"{SEGMENTS / name}\n" in text}
    return here


def clear(left: set[str]) -> None:
    """Remove the clusters, hosts and segments among the traces *left*; nothing of a running cluster."""
    for place in places():
        if f"folder {place.folder}" in left and (held := place.claim()):
            with held:
                take_down(place)
    leftovers.sweep()
    for trace in left:
        if trace.startswith(SHARED):
            (SEGMENTS / trace.removeprefix(SHARED)).unlink(missing_ok=True)
    groups = {trace.removeprefix("control group ") for trace in left if trace.startswith("control group ")}
    if idle := {group for group in groups if _is_empty(group)}:
        time.sleep(GRACE_S)  # somebody's cluster may be just starting
        for group in filter(_is_empty, idle):
            cgroups.remove(group)


def _is_empty(group: str) -> bool:
    files = (file for root in cgroups.hierarchies() for file in (root / group).rglob("cgroup.procs"))
    return not any(file.read_text() for file in files)


# Files ---------------------------------------------------------------------------------------------------------------


def temporary() -> Path:
    """A folder for a run's temporary files; those of runs that were killed outright are removed first."""
    for folder in Path(tempfile.gettempdir()).iterdir():
        owner = TEMPORARY.fullmatch(folder.name)
        if owner and not Path(f"/proc/{owner[1]}").exists() and folder.stat().st_uid == os.geteuid():
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"qk-{os.getpid()}-"))
