"""The control groups of one cluster: made under the root of each hierarchy (v1) or of the one (v2), and removed."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
REMOVE_LIMIT_S = 10


def make(name: str) -> None:
    """Create group *name* in every hierarchy, with what a kubelet needs of its parents."""
    _make_writable()
    for hierarchy in hierarchies():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # v1 starts a group without processors
            if (group / setting).exists() and not (group / setting).read_text().strip():
                (group / setting).write_text((hierarchy / setting).read_text())
    if _is_v2():
        for controller in (ROOT / "cgroup.controllers").read_text().split():
            for parent in (ROOT, ROOT / name):
                (parent / "cgroup.subtree_control").write_text(f"+{controller}")


def remove(name: str) -> None:
    """Remove group *name* and all below it, everywhere; their processes must have ended."""
    deadline = time.monotonic() + REMOVE_LIMIT_S
    for group in (hierarchy / name for hierarchy in hierarchies()):
        while group.exists():
            _remove_tree(group)
            if group.exists():  # the kernel lets go of an ended process a moment later
                if time.monotonic() > deadline:
                    raise TimeoutError(f"control group {group} is still in use {REMOVE_LIMIT_S} s after its end")
                time.sleep(0.02)


def _remove_tree(group: Path) -> None:
    with contextlib.suppress(OSError):  # still in use, or gone meanwhile
        for child in group.iterdir():
            if child.is_dir():
                _remove_tree(child)
        group.rmdir()


def _is_v2() -> bool:
    return (ROOT / "cgroup.controllers").exists()


def hierarchies() -> list[Path]:
    """The roots that a cluster has its group under: each controller's (v1), or the only one (v2)."""
    return [ROOT] if _is_v2() else [path for path in ROOT.iterdir() if path.is_dir() and not path.is_symlink()]


def _make_writable() -> None:
    """In a systemd-nspawn host the hierarchies are read-only; remounting changes this mount namespace only."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target, options = line.split()[4:6]
        if (target == str(ROOT) or target.startswith(f"{ROOT}/")) and "ro" in options.split(","):
            subprocess.run(["mount", "-o", "remount,bind,rw", target], capture_output=True, check=False)
